from __future__ import annotations

import math

import numpy as np
import pytest

from segloop.evaluate.average_precision import (
    ImageOutcomes,
    MaskOutcome,
    TruthCount,
    bootstrap_precision,
    summarise_precision,
)
from segloop.evaluate.benchmarks import BENCHMARKS
from segloop.evaluate.boundaries import (
    BoundaryCounts,
    bootstrap_boundaries,
    summarise_boundaries,
)

EDGES, INSTANCES = BENCHMARKS["edges"], BENCHMARKS["instances"]


def edges(image: int, right: int) -> BoundaryCounts:
    """100 true pixels at two thresholds; at the second, half as many are left."""
    found = (right, right // 2)
    return BoundaryCounts(str(image), 100, found, (100, 50), found)


def instance(score: float, num_right: int) -> ImageOutcomes:
    """One mask, right at so many of the ten IoU thresholds."""
    letters = "t" * num_right + "f" * (10 - num_right)
    return ImageOutcomes(
        (MaskOutcome("cat", score, (letters,) * 4),), (TruthCount("cat", None, (1,) * 4),)
    )


def test_the_numbers_are_those_of_the_benchmarks() -> None:
    images = [edges(n, 20 + 7 * n) for n in range(9)]
    ods, ois, ap, r50 = EDGES.estimate(images, seed=3)
    own = bootstrap_boundaries(images, seed=3)
    assert (ods, ois) == (own.ods, own.ois)
    assert (ap, r50) == (own.average_precision, own.recall_at_half_precision)
    assert ods.mean == summarise_boundaries(images).ods.f
    outcomes = [instance(n / 10, n) for n in range(9)]
    found, at_50, at_75, *by_area = INSTANCES.estimate(outcomes, seed=3)
    summary = summarise_precision(outcomes)
    assert found == bootstrap_precision(outcomes, seed=3)
    assert (at_50.mean, at_75.mean) == pytest.approx((summary.ap50, summary.ap75))
    by_size = (summary.small, summary.medium, summary.large)
    assert tuple(one.mean for one in by_area) == pytest.approx(by_size)
    assert INSTANCES.measures[3:] == ("AP small", "AP medium", "AP large")


def test_a_small_gain_on_every_image_exceeds_chance_though_the_intervals_overlap() -> None:
    hard = np.random.default_rng(0).integers(20, 80, 30)
    base = [edges(n, int(right)) for n, right in enumerate(hard)]
    better = [edges(n, int(right) + 2) for n, right in enumerate(hard)]
    first, second = (EDGES.estimate(images, seed=0)[0] for images in (base, better))
    assert second.low < first.high
    gain, *_ = EDGES.estimate_gains(better, base, seed=0)
    assert gain.mean == pytest.approx(second.mean - first.mean)
    assert 0 < gain.low <= gain.mean <= gain.high < 0.05


def test_the_same_images_gain_nothing() -> None:
    images = [edges(n, 20 + 7 * n) for n in range(9)]
    for gain in EDGES.estimate_gains(images, images, seed=0):
        assert (gain.mean, gain.low, gain.high) == (0, 0, 0)


def test_gains_of_precision_are_paired_too() -> None:
    base = [instance(n / 40, n % 10) for n in range(40)]
    better = [instance(n / 40, n % 10 + 1) for n in range(40)]
    gain, *_ = INSTANCES.estimate_gains(better, base, seed=0)
    own = INSTANCES.estimate(base, seed=0)[0]
    assert gain.low > 0
    assert gain.high - gain.low < own.high - own.low


def test_nothing_to_measure_is_no_number() -> None:
    nothing = ImageOutcomes((), ())
    for found in INSTANCES.estimate([nothing, nothing], seed=0):
        assert math.isnan(found.mean)
        assert math.isnan(found.low)
