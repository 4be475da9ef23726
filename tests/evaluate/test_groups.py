from __future__ import annotations

import pytest

from segloop.evaluate.average_precision import (
    ImageOutcomes,
    MaskOutcome,
    TruthCount,
    summarise_precision,
)
from segloop.evaluate.boundaries import BoundaryCounts, summarise_boundaries
from segloop.evaluate.comparison import by_category, by_size, group_scores
from segloop.evaluate.groups import group_tallies
from segloop.evaluate.runs import Run, RunScore, Tally


def by_parity(score: RunScore) -> str | None:
    number = int(score.image)
    return None if number == 99 else ("odd" if number % 2 else "even")


def edges(number: int) -> Tally:
    right = (80 + number, 40) if number % 2 else (30 + number, 20)
    counts = BoundaryCounts(str(number), 100, right, (100, 50), right)
    return Tally("drawn", "", str(number), counts)


def instances(number: int) -> Tally:
    """A cat that is found, and a dog that is found at half of the thresholds."""
    found = {"cat": "t" * 10, "dog": "t" * 5 + "f" * 5}
    masks = tuple(MaskOutcome(name, 0.9, (found[name],) * 4) for name in found)
    truths = tuple(TruthCount(name, None, (1,) * 4) for name in found)
    return Tally("drawn", "noise 0.1", str(number), ImageOutcomes(masks, truths))


def test_the_counts_of_a_groups_images_are_added_up() -> None:
    tallies = tuple(map(edges, (*range(12), 99)))
    run = Run("a", "edges", {}, (), tallies)
    groupings = group_tallies(run, by_parity)
    assert [one.measure for one in groupings] == ["ODS", "OIS", "AP", "R50"]
    ods = groupings[0]
    assert [(one.name, one.num_images) for one in ods.groups] == [("even", 6), ("odd", 6)]
    odd = summarise_boundaries([one.counts for one in tallies if int(one.image) in range(1, 12, 2)])
    assert ods.groups[1].mean.mean == pytest.approx(odd.ods.f)
    assert ods.groups[1].mean.low <= odd.ods.f <= ods.groups[1].mean.high
    (difference,) = ods.differences
    assert difference.difference.mean == pytest.approx(
        ods.groups[0].mean.mean - ods.groups[1].mean.mean
    )
    assert difference.exceeds_chance
    assert ods.num_left_out == 1
    # An image of edges has neither a category nor a size.
    assert group_tallies(run, by_category) == group_tallies(run, by_size) == ()


def test_precision_is_split_by_image_and_by_category() -> None:
    tallies = tuple(map(instances, range(6)))
    run = Run("a", "instances", {}, (), tallies)
    ap = group_scores(run, by_category)[0]
    assert ap.measure == "AP, noise 0.1"
    assert [(one.name, one.mean.mean) for one in ap.groups] == [("cat", 1.0), ("dog", 0.5)]
    assert ap.differences[0].difference.mean == pytest.approx(0.5)
    even = group_scores(run, by_parity)[0].groups[0]
    assert even.num_images == 3
    whole = summarise_precision([one.counts for one in tallies if int(one.image) % 2 == 0])
    assert even.mean.mean == pytest.approx(whole.ap) == pytest.approx(0.75)


def test_an_image_without_masks_belongs_to_its_group() -> None:
    nothing = Tally("drawn", "noise 0.1", "8", ImageOutcomes((), ()))
    run = Run("a", "instances", {}, (), (instances(2), nothing))
    (group,) = group_tallies(run, by_parity)[0].groups
    assert (group.name, group.num_images) == ("even", 2)
