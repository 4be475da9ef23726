"""The numbers an evaluation reports: rank correlation, clicks to a target, intervals by bootstrap.

Plain arrays in, plain numbers out. IoU itself is geometry.masks.mask_iou.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatColumn = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over masks and its 95% interval."""

    mean: float
    low: float
    high: float


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Rank correlation of two columns, ties sharing their mean rank; NaN where a column is constant or too short."""
    one, other = _ranks(first), _ranks(second)
    if len(one) != len(other):
        raise ValueError(f"columns differ in length: {len(one)} and {len(other)}")
    if len(one) < 2 or one.min() == one.max() or other.min() == other.max():
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def clicks_to_reach(ious: Sequence[float], target: float, max_clicks: int) -> int | None:
    """The first click whose IoU is at least `target`, counted from 1; None where max_clicks did not do it (NoC)."""
    # IoUs are float32: 9 of 10 pixels must count as .90.
    reached = np.flatnonzero(np.asarray(ious[:max_clicks], dtype=np.float32) >= np.float32(target))
    return int(reached[0]) + 1 if len(reached) else None


def bootstrap_mean(
    values: npt.ArrayLike, groups: npt.ArrayLike, seed: int, num_draws: int = 2000
) -> Estimate:
    """Mean over all values and the 95% interval from drawing whole groups (images) anew.

    values: (N,). groups: (N,), equal where values come from the same image: masks of one image are not independent.
    """
    column = np.asarray(values, dtype=np.float64)
    if not len(column):
        return Estimate(float("nan"), float("nan"), float("nan"))
    drawn = _draw_means(column, groups, np.random.default_rng(seed), num_draws)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(float(column.mean()), float(low), float(high))


def bootstrap_mean_of_sets(
    sets: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], seed: int, num_draws: int = 2000
) -> Estimate:
    """Mean of the means of several datasets, each weighing the same (paper §7.1); groups are drawn anew in each of them.

    sets: values and groups of each, as of bootstrap_mean, none of them empty.
    """
    rng = np.random.default_rng(seed)
    columns = [(np.asarray(values, dtype=np.float64), groups) for values, groups in sets]
    drawn = [_draw_means(column, groups, rng, num_draws) for column, groups in columns]
    low, high = np.quantile(np.mean(drawn, axis=0), (0.025, 0.975))
    mean = np.mean([column.mean() for column, _ in columns])
    return Estimate(float(mean), float(low), float(high))


def _draw_means(
    column: FloatColumn, groups: npt.ArrayLike, rng: np.random.Generator, num_draws: int
) -> FloatColumn:
    """The mean of each draw."""
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    sums, counts = np.bincount(group, column), np.bincount(group)
    draws = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=num_draws)
    return np.asarray((draws @ sums) / (draws @ counts), dtype=np.float64)


def _ranks(values: npt.ArrayLike) -> FloatColumn:
    column = np.asarray(values, dtype=np.float64).reshape(-1)
    _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], dtype=np.float64)
