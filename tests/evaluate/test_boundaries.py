from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from segloop.data.archive import tar_members
from segloop.data.bsds import read_boundaries
from segloop.errors import InputError
from segloop.evaluate.boundaries import (
    BoundaryCounts,
    best_point,
    bootstrap_boundaries,
    edges_in_8_bits,
    score_boundaries,
    summarise_boundaries,
    thresholds,
)
from segloop.evaluate.thinning import thin

HW = (60, 80)


def counts(found: tuple[int, ...], predicted: tuple[int, ...], right: tuple[int, ...]):
    return BoundaryCounts("one", 100, found, predicted, right)


# Recall .8, .5, .2 at precision .4, .75, 1.
CURVE = counts((80, 50, 20), (200, 80, 20), (80, 60, 20))


@pytest.fixture
def outline() -> np.ndarray:
    """A closed line, one pixel wide."""
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    radius = np.hypot(rows - 30, columns - 38)
    return thin((radius > 18) & (radius < 22))


def test_thresholds_are_hundredths() -> None:
    np.testing.assert_allclose(thresholds(), np.arange(1, 100) / 100)
    np.testing.assert_allclose(thresholds(5), np.arange(1, 6) / 6)
    with pytest.raises(InputError, match="at least 1, got 0"):
        thresholds(0)


def test_a_perfect_map_scores_exactly_one(outline: np.ndarray) -> None:
    scores = [score_boundaries("a", outline.astype(np.float32), outline[None])] * 3
    summary = summarise_boundaries(scores)
    assert (summary.num_images, len(summary.curve)) == (3, 99)
    for point in (summary.ods, summary.ois, *summary.curve):
        assert (point.recall, point.precision, point.f) == (1, 1, 1)
    assert summary.recall_at_half_precision == 1
    # A curve of one recall has no area, by the benchmark's rule.
    assert summary.average_precision == 0


def test_an_empty_map_scores_nothing(outline: np.ndarray) -> None:
    score = score_boundaries("a", np.zeros(HW, dtype=np.float32), outline[None])
    assert set(score.predicted + score.right + score.found_true) == {0}
    summary = summarise_boundaries([score])
    assert (summary.ods.f, summary.ois.f) == (0, 0)
    assert (summary.average_precision, summary.recall_at_half_precision) == (0, 0)


def test_every_threshold_counts_its_own_pixels(outline: np.ndarray) -> None:
    edges = np.where(outline, 0.505, 0.0)
    edges[2, 5:15] = 0.255
    edges[40, 10] = outline[40, 10] = 0
    score = score_boundaries("a", edges, np.stack([outline, np.zeros_like(outline)]))
    true = int(outline.sum())
    # The line far off is there up to .25, the outline up to .5.
    assert score.num_true == true
    assert score.predicted == (true + 10,) * 25 + (true,) * 25 + (0,) * 49
    assert score.right == score.found_true == (true,) * 50 + (0,) * 49


def test_a_pixel_is_right_once_and_every_person_must_be_found(outline: np.ndarray) -> None:
    other = np.zeros_like(outline)
    other[5, 5:25] = True
    truths = np.stack([outline, outline, other])
    score = score_boundaries("a", outline.astype(np.float64), truths, num_thresholds=1)
    line = int(outline.sum())
    assert score == BoundaryCounts("a", 2 * line + 20, (2 * line,), (line,), (line,))


def test_the_reach_grows_with_the_image() -> None:
    truth, edges = np.zeros((2, 300, 400), dtype=np.float64)
    truth[100, 50:350] = 1
    for away, is_found in ((3, True), (4, False)):  # .0075 of 500 pixels is 3.75
        edges[:] = 0
        edges[100 + away, 50:350] = 1
        score = score_boundaries("a", edges, truth[None] > 0, num_thresholds=1)
        assert score.found_true == (300 if is_found else 0,)
    assert score_boundaries(
        "a", edges, truth[None] > 0, num_thresholds=1, max_distance=0.01
    ).right == (300,)


def test_ods_lies_between_thresholds() -> None:
    ods = summarise_boundaries([CURVE]).ods
    # F = 2 (.8 - .3 d) (.4 + .35 d) / (1.2 + .05 d) is largest at d = .6885, where it is .61629.
    assert ods.f == pytest.approx(0.61629, abs=1e-5)
    assert ods.threshold == pytest.approx(0.25 + 0.25 * 0.6885, abs=0.002)
    assert ods.recall == pytest.approx(0.8 - 0.3 * 0.6885, abs=0.002)
    assert best_point(CURVE) == ods


def test_ois_sums_the_counts_of_every_images_best_threshold() -> None:
    # F is .6 at the second threshold of the curve; at the first of the other, 2 * .9 * .45 / 1.35 = .6 as well.
    other = counts((90, 30, 10), (200, 50, 20), (90, 30, 10))
    ois = summarise_boundaries([CURVE, other]).ois
    assert ois.threshold is None
    assert ois.recall == pytest.approx((50 + 90) / 200)
    assert ois.precision == pytest.approx((60 + 90) / 280)
    assert ois.f == pytest.approx(2 * 0.7 * (150 / 280) / (0.7 + 150 / 280))


def test_average_precision_is_the_area_over_the_recalls_reached() -> None:
    # 31 recalls from .2 to .5 with precisions 1 to .75, then 30 to .8 with .75 - 7/6 * .01 to .4.
    expected = 0.01 * (31 * 0.875 + 30 * (0.75 - 7 / 6 * 0.155))
    assert summarise_boundaries([CURVE]).average_precision == pytest.approx(expected)
    # Where several thresholds have one recall, the lowest of them gives the precision.
    repeated = counts((80, 80, 50, 50, 20), (200, 400, 80, 60, 20), (80, 200, 60, 60, 20))
    assert summarise_boundaries([repeated]).average_precision == pytest.approx(expected)


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ((80, 60, 20), 0.8 - 0.3 * 0.1 / 0.35),  # between precisions .4 and .75
        ((120, 60, 20), 0.8),  # .6 at least: its recall
        ((80, 36, 8), 0.0),  # .45 at most: never reached
        ((100, 36, 8), 0.8),  # .5 is just reached
    ],
)
def test_recall_at_half_precision(right: tuple[int, ...], expected: float) -> None:
    summary = summarise_boundaries([replace(CURVE, right=right)])
    assert summary.recall_at_half_precision == pytest.approx(expected)


def test_images_are_summed_before_anything_is_divided() -> None:
    large = BoundaryCounts("large", 900, (900,), (1000,), (900,))
    small = BoundaryCounts("small", 100, (0,), (0,), (0,))
    (point,) = summarise_boundaries([large, small]).curve
    assert (point.recall, point.precision) == (0.9, 0.9)
    # An image where nobody drew a boundary has nothing to be found; what is predicted there is wrong.
    (point,) = summarise_boundaries([large, BoundaryCounts("none", 0, (0,), (1000,), (0,))]).curve
    assert (point.recall, point.precision) == (1, 0.45)


def test_intervals_come_from_drawing_images() -> None:
    good = [BoundaryCounts(str(n), 100, (80,), (100,), (80,)) for n in range(10)]
    poor = [BoundaryCounts(str(n), 100, (40,), (100,), (40,)) for n in range(10, 20)]
    # F is the mean of .8 and .4 here; the mean of 20 such draws has a deviation of .2 / 20**.5.
    estimates = bootstrap_boundaries(good + poor, seed=1)
    for one in (estimates.ods, estimates.ois):
        assert one.mean == pytest.approx(0.6)
        assert one.low == pytest.approx(0.6 - 1.96 * 0.2 / 20**0.5, abs=0.02)
        assert one.high == pytest.approx(0.6 + 1.96 * 0.2 / 20**0.5, abs=0.02)
    assert bootstrap_boundaries(good + poor, seed=1) == estimates
    alike = bootstrap_boundaries([CURVE] * 5, seed=1)
    summary = summarise_boundaries([CURVE])
    for one, value in (
        (alike.ods, summary.ods.f),
        (alike.ois, summary.ois.f),
        (alike.average_precision, summary.average_precision),
        (alike.recall_at_half_precision, summary.recall_at_half_precision),
    ):
        assert (one.mean, one.low, one.high) == pytest.approx((value, value, value))


def test_maps_are_kept_with_8_bits() -> None:
    edges = np.array([[0.0, 0.5, 0.1, 1.0]], dtype=np.float32)
    expected = np.array([[0, 128, 26, 255]]) / 255
    np.testing.assert_array_equal(edges_in_8_bits(edges), expected)


def test_scores_survive_json() -> None:
    adapter = TypeAdapter(BoundaryCounts)
    assert adapter.validate_json(adapter.dump_json(CURVE)) == CURVE


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1, np.inf])
def test_a_map_of_other_numbers_is_refused(outline: np.ndarray, value: float) -> None:
    edges = outline.astype(np.float32)
    edges[3, 3] = value
    with pytest.raises(InputError, match="photo: an edge map has numbers from 0 to 1"):
        score_boundaries("photo", edges, outline[None])


def test_maps_of_other_sizes_are_refused(outline: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"photo: .*\(1, 40, 30\).*\(1, 60, 80\)"):
        score_boundaries("photo", np.zeros((40, 30)), outline[None])
    with pytest.raises(InputError, match="photo: there are no true boundaries"):
        score_boundaries("photo", np.zeros(HW), np.zeros((0, *HW), dtype=bool))
    with pytest.raises(InputError, match=r"photo: .* got shape \(60, 80, 3\)"):
        score_boundaries("photo", np.zeros((*HW, 3)), outline[None])


def test_what_has_no_summary_is_refused() -> None:
    with pytest.raises(InputError, match="no images"):
        summarise_boundaries([])
    with pytest.raises(InputError, match="different numbers of thresholds"):
        summarise_boundaries([CURVE, counts((1,), (1,), (1,))])
    with pytest.raises(InputError, match="no image has a true boundary"):
        summarise_boundaries([BoundaryCounts("none", 0, (0,), (10,), (0,))])


def test_the_published_regression_case_comes_out(shared_dir: Path) -> None:
    members = tar_members(shared_dir / "data" / "bsds500" / "regression.tar")
    scores = []
    for name in ("2018", "3063", "5096", "6046", "8068"):
        edges = np.asarray(Image.open(io.BytesIO(members[f"png/{name}.png"].read()))) / 255
        truths = read_boundaries(members[f"groundTruth/{name}.mat"].read())
        scores.append(score_boundaries(name, edges, truths, num_thresholds=5))
    summary = summarise_boundaries(scores)

    def published(run: int, name: str) -> np.ndarray:
        text = members[f"test_{run}/{name}.txt"].read().decode()
        return np.array([[float(word) for word in line.split()] for line in text.splitlines()])

    # Its matcher draws at random: its own four runs differ by .001 here and there.
    for run in (1, 2, 3, 4):
        (_, *ods, ois_recall, ois_precision, ois_f, area) = published(run, "eval_bdry")[0]
        ours = (summary.ods.recall, summary.ods.precision, summary.ods.f)
        np.testing.assert_allclose(ours, ods, atol=0.001)
        ours = (summary.ois.recall, summary.ois.precision, summary.ois.f)
        np.testing.assert_allclose(ours, (ois_recall, ois_precision, ois_f), atol=0.001)
        assert summary.average_precision == pytest.approx(area, abs=0.001)
        curve = [(point.recall, point.precision, point.f) for point in summary.curve]
        np.testing.assert_allclose(curve, published(run, "eval_bdry_thr")[:, 1:], atol=0.001)
        best = [(one.recall, one.precision, one.f) for one in map(best_point, scores)]
        np.testing.assert_allclose(best, published(run, "eval_bdry_img")[:, 2:], atol=0.0015)
    assert round(summary.ods.f, 4) == pytest.approx(0.7046, abs=0.001)
    assert round(summary.ois.f, 4) == pytest.approx(0.7087, abs=0.001)
    assert round(summary.average_precision, 4) == pytest.approx(0.3076, abs=0.001)
