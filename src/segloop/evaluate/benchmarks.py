"""Numbers of a whole set that are no means over its images: ODS of edges, AP of instances. What two runs differ in by them.

Images are drawn anew and the benchmark is taken of each draw; for two runs the draws are the same, so that an image that is
hard for both says nothing of which is better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from segloop.evaluate.average_precision import ImageOutcomes, draw_precision
from segloop.evaluate.boundaries import BoundaryCounts, draw_boundaries
from segloop.evaluate.metrics import Estimate

IntTable = npt.NDArray[np.int64]
FloatTable = npt.NDArray[np.float64]
Counts = TypeVar("Counts")


@dataclass(frozen=True)
class Benchmark(Generic[Counts]):
    """Numbers that are made of counts of images.

    counts: the type of what is counted of an image. draw: of N images and how often each counts in each of D draws (D, N)
    to the numbers (D, M), NaN where there is nothing to measure. num_draws: enough for an interval.
    """

    counts: type[Counts]
    measures: tuple[str, ...]
    draw: Callable[[Sequence[Counts], IntTable], FloatTable]
    num_draws: int

    def estimate(self, images: Sequence[Counts], seed: int) -> tuple[Estimate, ...]:
        """Each number with its 95% interval."""
        return estimate_columns(self._once(images), self._anew(images, seed))

    def estimate_gains(
        self, images: Sequence[Counts], others: Sequence[Counts], seed: int
    ) -> tuple[Estimate, ...]:
        """What each number of images is more than that of others, which are the same images in the same order."""
        return estimate_columns(
            self._once(images) - self._once(others),
            self._anew(images, seed) - self._anew(others, seed),
        )

    def _once(self, images: Sequence[Counts]) -> FloatTable:
        return self.draw(images, np.ones((1, len(images)), dtype=np.int64))

    def _anew(self, images: Sequence[Counts], seed: int) -> FloatTable:
        share = np.full(len(images), 1 / len(images))
        rng = np.random.default_rng(seed)
        return self.draw(images, rng.multinomial(len(images), share, size=self.num_draws))


_PRECISION = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large")

BENCHMARKS: dict[str, Benchmark[Any]] = {
    "edges": Benchmark(BoundaryCounts, ("ODS", "OIS", "AP", "R50"), draw_boundaries, 1000),
    "instances": Benchmark(ImageOutcomes, _PRECISION, draw_precision, 200),
}


def estimate_columns(found: FloatTable, drawn: FloatTable) -> tuple[Estimate, ...]:
    """Each of M numbers (1, M) with the interval of its draws (D, M), of which those that are no number do not count."""
    estimates = []
    for value, column in zip(found[0].tolist(), drawn.T, strict=True):
        known = column[~np.isnan(column)]
        low, high = np.quantile(known, (0.025, 0.975)) if known.size else (np.nan, np.nan)
        estimates.append(Estimate(value, float(low), float(high)))
    return tuple(estimates)
