from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from segloop.evaluate.metrics import (
    bootstrap_mean,
    bootstrap_mean_of_sets,
    clicks_to_reach,
    spearman,
)

FEW_VALUES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=30)


@given(FEW_VALUES)
def test_spearman_agrees_with_scipy_ties_included(pairs: list[tuple[int, int]]):
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(spearman(first, second))
    else:
        expected = stats.spearmanr(first, second).statistic
        assert spearman(first, second) == pytest.approx(expected, abs=1e-9)


def test_spearman_sees_order_and_not_size():
    assert spearman([1, 2, 3, 4], [0.1, 0.2, 0.3, 900.0]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, -7]) == pytest.approx(-1)


def test_spearman_of_next_to_nothing_is_not_a_number():
    assert math.isnan(spearman([], []))
    assert math.isnan(spearman([1], [2]))
    with pytest.raises(ValueError, match="differ in length"):
        spearman([1, 2], [1, 2, 3])


def test_clicks_to_reach_counts_from_one_and_takes_the_first():
    assert clicks_to_reach([0.9], 0.9, 20) == 1
    assert clicks_to_reach([0.2, 0.86, 0.5, 0.95], 0.85, 20) == 2
    assert clicks_to_reach([0.2, 0.86, 0.5, 0.95], 0.90, 20) == 4
    assert clicks_to_reach([0.2, 0.3], 0.85, 20) is None
    assert clicks_to_reach([0.2, 0.3, 0.99], 0.85, 2) is None


def test_nine_tenths_in_single_precision_are_nine_tenths():
    assert clicks_to_reach([float(np.float32(9 / 10))], 0.90, 20) == 1
    assert clicks_to_reach([float(np.float32(17 / 20))], 0.85, 20) == 1


def test_bootstrap_mean_is_the_plain_mean_with_an_interval_around_it():
    values = np.random.default_rng(0).uniform(size=400)
    estimate = bootstrap_mean(values, np.arange(400), seed=0)
    assert estimate.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.2 * half)
    assert estimate == bootstrap_mean(values, np.arange(400), seed=0)


def test_bootstrap_draws_images_and_not_masks():
    # Ten masks of an image say the same: the interval must be as wide as from one mask of each.
    values = np.random.default_rng(1).uniform(size=50)
    one_each = bootstrap_mean(values, np.arange(50), seed=0)
    ten_each = bootstrap_mean(np.repeat(values, 10), np.repeat(np.arange(50), 10), seed=0)
    assert ten_each.mean == pytest.approx(one_each.mean)
    assert ten_each.high - ten_each.low == pytest.approx(one_each.high - one_each.low, rel=0.05)


def test_bootstrap_weighs_images_by_their_masks():
    estimate = bootstrap_mean([1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"], seed=0)
    assert estimate.mean == 0.25
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_bootstrap_of_nothing_is_not_a_number():
    estimate = bootstrap_mean([], [], seed=0)
    assert math.isnan(estimate.mean)
    assert math.isnan(estimate.low)


def test_the_mean_of_sets_weighs_each_the_same() -> None:
    large, small = np.linspace(0, 1, 40), np.full(2, 0.9)
    found = bootstrap_mean_of_sets([(large, range(40)), (small, range(2))], seed=0)
    assert found.mean == pytest.approx(0.7)
    # Only the large one varies, and it is half of the mean.
    alone = bootstrap_mean(large, range(40), seed=0)
    assert found.high - found.low == pytest.approx((alone.high - alone.low) / 2, rel=0.1)
