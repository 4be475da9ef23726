from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segloop.errors import InputError
from segloop.evaluate.boundaries import BoundaryCounts
from segloop.evaluate.comparison import (
    bootstrap_difference,
    by_category,
    by_file,
    by_size,
    compare_runs,
    group_scores,
)
from segloop.evaluate.runs import Run, RunScore, Tally


def score(image: int, value: float, **changes) -> RunScore:
    fields = {
        "key": (("image", image),),
        "dataset": "drawn",
        "image": str(image),
        "values": {"IoU": value},
        "category": None,
        "relative_size": None,
        "annotation_id": 1,
    }
    return RunScore(**{**fields, **changes})


def run(label: str, values: dict[int, float], task: str = "points") -> Run:
    return Run(label, task, {}, tuple(score(image, value) for image, value in values.items()))


def test_two_runs_are_compared_mask_by_mask() -> None:
    rng = np.random.default_rng(0)
    base = {image: float(value) for image, value in enumerate(rng.uniform(0.2, 0.8, 40))}
    better = {image: value + 0.02 for image, value in base.items()}
    (line,) = compare_runs([run("base", base), run("better", better)])
    first, second = line.cells
    assert first.difference is None
    assert second.difference is not None
    assert second.difference.mean == pytest.approx(0.02)
    # The means' own intervals overlap by far; what every mask gains is sure.
    assert first.mean.high > second.mean.low
    assert second.exceeds_chance


def edges_run(label: str, right: dict[int, int]) -> Run:
    """Of 100 true pixels of each image, so many of 100 edge pixels are right."""
    tallies = tuple(
        Tally("drawn", "", str(image), BoundaryCounts(str(image), 100, (n,), (100,), (n,)))
        for image, n in right.items()
    )
    return Run(label, "edges", {}, (), tallies)


def test_numbers_of_a_whole_set_are_compared_on_the_images_of_both() -> None:
    hard = np.random.default_rng(0).integers(20, 80, 40)
    base = {image: int(right) for image, right in enumerate(hard)}
    better = {image: right + 2 for image, right in base.items() if image < 30} | {99: 100}
    lines = compare_runs([edges_run("base", base), edges_run("better", better)])
    assert [line.measure for line in lines] == ["ODS", "OIS", "AP", "R50"]
    first, second = lines[0].cells
    assert (first.num_scores, second.num_scores) == (40, 31)
    assert first.mean.mean == pytest.approx(hard.mean() / 100)
    assert first.difference is None
    assert second.difference is not None
    assert second.difference.mean == pytest.approx(0.02)
    assert second.exceeds_chance
    with pytest.raises(InputError, match="no image in common"):
        compare_runs([edges_run("base", base), edges_run("other", {77: 50})])


def test_points_have_the_mean_of_the_sets_that_all_runs_have() -> None:
    rng = np.random.default_rng(3)
    first = [score(n, float(value)) for n, value in enumerate(rng.uniform(0.2, 0.4, 30))]
    second = [replace(score(n, 0.8), dataset="photos", key=(("photo", n),)) for n in range(10)]
    base = Run("base", "points", {}, (*first, *second))
    gained = [replace(one, values={"IoU": one.values["IoU"] + 0.1}) for one in second]
    extra = replace(score(1, 0.0), dataset="more", key=(("more", 1),))
    better = Run("better", "points", {}, (*first, *gained, extra))
    lines = compare_runs([base, better])
    assert [line.dataset for line in lines] == ["drawn", "photos", "more", "mean of 2 sets"]
    one, other = lines[-1].cells
    # Each set weighs the same, however many masks it has.
    mean = (np.mean([score.values["IoU"] for score in first]) + 0.8) / 2
    assert one.mean.mean == pytest.approx(mean)
    assert one.mean.low < mean < one.mean.high
    assert (one.num_scores, one.difference) == (40, None)
    assert other.difference is not None
    assert other.difference.mean == pytest.approx(0.05)
    assert other.exceeds_chance


def test_a_run_that_lacks_a_set_has_an_empty_cell() -> None:
    other = edges_run("other", {1: 50})
    extra = tuple(replace(one, dataset="more") for one in other.tallies)
    lines = compare_runs([other, replace(other, label="more", tallies=other.tallies + extra)])
    (line,) = (one for one in lines if (one.dataset, one.measure) == ("more", "ODS"))
    assert [cell.num_scores for cell in line.cells] == [0, 1]
    assert line.cells[1].difference is None


def test_noise_is_not_taken_for_a_difference() -> None:
    rng = np.random.default_rng(1)
    base = {image: float(value) for image, value in enumerate(rng.uniform(0.2, 0.8, 40))}
    other = {image: value + rng.normal(0, 0.1) for image, value in base.items()}
    (line,) = compare_runs([run("base", base), run("other", other)])
    assert not line.cells[1].exceeds_chance


def test_only_what_both_have_scored_counts_for_the_difference() -> None:
    (line,) = compare_runs([run("a", {1: 0.5, 2: 0.7}), run("b", {2: 0.9, 3: 0.1})])
    assert line.cells[1].mean.mean == pytest.approx(0.5)
    assert line.cells[1].difference is not None
    assert line.cells[1].difference.mean == pytest.approx(0.2)


def test_runs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InputError, match="no image in common"):
        compare_runs([run("a", {1: 0.5}), run("b", {2: 0.5})])
    with pytest.raises(InputError, match="several tasks cannot be compared: edges, points"):
        compare_runs([run("a", {1: 0.5}), run("b", {1: 0.5}, task="edges")])
    with pytest.raises(InputError, match="no run to report"):
        compare_runs([])


def test_groups_have_means_and_differences() -> None:
    scores = [score(n, 0.6 + 0.01 * (n % 3), category="cat") for n in range(12)]
    scores += [score(20 + n, 0.2 + 0.01 * (n % 3), category="dog") for n in range(9)]
    scores += [score(40, 0.9, category="emu"), score(41, 0.9)]
    (grouping,) = group_scores(Run("a", "points", {}, tuple(scores)), by_category)
    assert [(group.name, group.num_scores) for group in grouping.groups] == [
        ("cat", 12),
        ("dog", 9),
        ("emu", 1),
    ]
    assert grouping.groups[0].mean.mean == pytest.approx(0.61)
    assert grouping.num_left_out == 1
    # One image says nothing of chance.
    (difference,) = grouping.differences
    assert (difference.first, difference.second) == ("cat", "dog")
    assert difference.difference.mean == pytest.approx(0.4)
    assert difference.exceeds_chance


def test_an_image_of_both_groups_is_drawn_for_both() -> None:
    images = [str(n) for n in range(30)]
    hard = np.random.default_rng(2).uniform(0, 1, 30)
    together = bootstrap_difference(hard + 0.1, images, hard, images, 0)
    others = [f"other {n}" for n in range(30)]
    apart = bootstrap_difference(hard + 0.1, images, hard, others, 0)
    assert together.mean == pytest.approx(apart.mean)
    assert together.high - together.low < 0.01
    assert apart.high - apart.low > 0.2


def test_sizes_are_those_of_the_summary() -> None:
    assert by_size(score(1, 0.5, relative_size=0.05)) == "0.05 to 0.1"
    assert by_size(score(1, 0.5, relative_size=1.0)) == "0.4 to 1"
    assert by_size(score(1, 0.5)) is None


def test_groups_of_a_file(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("image,group\n1,old\n2,young\n3,\n")
    group_of = by_file(table)
    assert [group_of(score(n, 0.5)) for n in (1, 2, 3, 4)] == ["old", "young", None, None]
    table.write_text("image,annotation_id,group\n1,1,old\n1,2,young\n")
    group_of = by_file(table)
    assert group_of(score(1, 0.5)) == "old"
    assert group_of(score(1, 0.5, annotation_id=2)) == "young"
    table.write_text("image,group,skin\n1,old,3\n2,young,5\n", encoding="utf-8-sig")
    assert [by_file(table, "skin")(score(n, 0.5)) for n in (1, 2)] == ["3", "5"]
    with pytest.raises(InputError, match="columns image, age"):
        by_file(table, "age")
    table.write_text("image,group\n1,old\n1,old\n2,old\n2,young\n")
    with pytest.raises(InputError, match="has 2 in two groups, old and young"):
        by_file(table)
    table.write_text("picture,class\n1,old\n")
    with pytest.raises(InputError, match="columns image, group"):
        by_file(table)
    with pytest.raises(InputError, match="cannot be read as a table"):
        by_file(tmp_path / "none.csv")
    with pytest.raises(InputError, match="belongs to any group"):
        group_scores(run("a", {7: 0.5}), group_of)
