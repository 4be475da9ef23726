"""The boundary benchmark of BSDS500: a soft edge map against the boundaries that several people drew of one image.

The map is cut at 99 thresholds, thinned, and matched with each person's boundaries one to one (evaluate.boundary_matching).
Counts are summed over images and then made into numbers: best threshold for all images (ODS), best threshold for each
(OIS), area below the precision-recall curve (AP), and recall at a precision of one half (R50).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segloop.errors import InputError
from segloop.evaluate.boundary_matching import match_boundaries
from segloop.evaluate.metrics import Estimate
from segloop.evaluate.thinning import thin
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import IntArray

NUM_THRESHOLDS = 99
# The share of the image's diagonal that a pixel may lie away from the one it stands for.
MAX_DISTANCE = 0.0075
_STEPS_BETWEEN = 100

FloatColumn = npt.NDArray[np.float64]
IntTable = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BoundaryCounts:
    """Pixels of one image, at each threshold.

    num_true: boundary pixels of all people together, the same at every threshold. found_true: of these the matched ones.
    predicted: edge pixels. right: of these the ones matched with at least one person's boundaries.
    """

    image: str
    num_true: int
    found_true: tuple[int, ...]
    predicted: tuple[int, ...]
    right: tuple[int, ...]


@dataclass(frozen=True)
class OperatingPoint:
    """Recall, precision and their harmonic mean F; threshold: None where every image has its own."""

    threshold: float | None
    recall: float
    precision: float
    f: float


@dataclass(frozen=True)
class BoundarySummary:
    """The numbers of the benchmark; curve: one point for each threshold, rising."""

    num_images: int
    ods: OperatingPoint
    ois: OperatingPoint
    average_precision: float
    recall_at_half_precision: float
    curve: tuple[OperatingPoint, ...]


@dataclass(frozen=True)
class BoundaryEstimates:
    """The numbers of the benchmark, ODS and OIS by their F, each with its 95% interval."""

    ods: Estimate
    ois: Estimate
    average_precision: Estimate
    recall_at_half_precision: Estimate


def thresholds(num_thresholds: int = NUM_THRESHOLDS) -> FloatColumn:
    """The values at which an edge map is cut: so many, evenly between 0 and 1."""
    if num_thresholds < 1:
        raise InputError(f"the number of thresholds is at least 1, got {num_thresholds}")
    share = 1 / (num_thresholds + 1)
    return np.linspace(share, 1 - share, num_thresholds)


def score_boundaries(
    image: str,
    edges: FloatArray | FloatColumn,
    truths: BoolArray,
    *,
    num_thresholds: int = NUM_THRESHOLDS,
    max_distance: float = MAX_DISTANCE,
) -> BoundaryCounts:
    """Count what a soft edge map (H, W), 0 to 1, has in common with the boundaries of A people (A, H, W).

    The map is cut as it is; the published numbers are of maps kept with 8 bits (edges_in_8_bits). max_distance: a share of
    the image's diagonal. People who drew nothing count as such. Raises InputError for values that are no numbers from 0 to
    1, and for sizes that differ.
    """
    if edges.ndim != 2 or not edges.size:
        raise InputError(f"{image}: an edge map is (height, width), got shape {edges.shape}")
    if not (np.isfinite(edges).all() and edges.min() >= 0 and edges.max() <= 1):
        raise InputError(f"{image}: an edge map has numbers from 0 to 1, and no others")
    cuts = np.stack([edges >= threshold for threshold in thresholds(num_thresholds)])
    # A cut lies within those at lower thresholds: as many pixels are the same pixels.
    _, first, which = np.unique(cuts.sum(axis=(1, 2)), return_index=True, return_inverse=True)
    thinned = np.stack([thin(cuts[number]) for number in first])
    try:
        match = match_boundaries(thinned, truths, max_distance * float(np.hypot(*edges.shape)))
    except InputError as error:
        raise InputError(f"{image}: {error}") from error

    def at_each(counts: IntArray) -> tuple[int, ...]:
        return tuple(counts[which].tolist())

    return BoundaryCounts(
        image=image,
        num_true=int(truths.sum()),
        found_true=at_each(match.num_true.sum(axis=1)),
        predicted=at_each(thinned.sum(axis=(1, 2))),
        right=at_each(match.matched.sum(axis=(1, 2))),
    )


def edges_in_8_bits(edges: FloatArray) -> FloatColumn:
    """A soft edge map as it comes back from a file of 256 greys, in which edge maps are handed to the benchmark."""
    return np.asarray(np.rint(edges.astype(np.float64) * 255) / 255)


def summarise_boundaries(scores: Sequence[BoundaryCounts]) -> BoundarySummary:
    """The numbers of the benchmark over all images; InputError for no image, no true boundary or unequal thresholds."""
    if not scores:
        raise InputError("there are no images to summarise: score at least one")
    if len({len(one.predicted) for one in scores}) > 1:
        raise InputError("the images were scored at different numbers of thresholds")
    if not any(one.num_true for one in scores):
        raise InputError("no image has a true boundary: there is nothing to find")
    counts = np.stack([_columns(one) for one in scores])
    total, at_best = _rates(counts.sum(axis=0)), _rates(_at_best(counts).sum(axis=0))
    cuts = thresholds(counts.shape[2])
    return BoundarySummary(
        num_images=len(scores),
        ods=_best_between(cuts, total),
        ois=OperatingPoint(None, *at_best.tolist()),
        average_precision=_average_precision(*total[:2]),
        recall_at_half_precision=_recall_at_half_precision(*total[:2]),
        curve=tuple(
            OperatingPoint(float(cut), *rates.tolist())
            for cut, rates in zip(cuts, total.T, strict=True)
        ),
    )


def bootstrap_boundaries(
    scores: Sequence[BoundaryCounts], seed: int, num_draws: int = 1000
) -> BoundaryEstimates:
    """The numbers of the benchmark and their 95% intervals from drawing the images anew; raises as summarise_boundaries."""
    summary = summarise_boundaries(scores)
    share = np.full(len(scores), 1 / len(scores))
    draws = np.random.default_rng(seed).multinomial(len(scores), share, size=num_draws)
    low, high = np.quantile(draw_boundaries(scores, draws), (0.025, 0.975), axis=0).tolist()
    areas = summary.average_precision, summary.recall_at_half_precision
    found = (summary.ods.f, summary.ois.f, *areas)
    return BoundaryEstimates(*map(Estimate, found, low, high))


def draw_boundaries(scores: Sequence[BoundaryCounts], draws: IntTable) -> FloatColumn:
    """ODS, OIS, AP and R50 (D, 4) of N images that count so often in each of D draws (D, N)."""
    counts = np.stack([_columns(one) for one in scores])
    at_best, cuts = _at_best(counts), thresholds(counts.shape[2])
    drawn = []
    for times in draws:
        total = _rates(np.tensordot(times, counts, axes=1))
        drawn.append(
            (
                _best_between(cuts, total).f,
                float(_rates(times @ at_best)[2]),
                _average_precision(*total[:2]),
                _recall_at_half_precision(*total[:2]),
            )
        )
    return np.array(drawn, dtype=np.float64)


def best_point(score: BoundaryCounts) -> OperatingPoint:
    """The best F of one image, between thresholds too, as ODS takes it for all."""
    return _best_between(thresholds(len(score.predicted)), _rates(_columns(score)))


def _columns(score: BoundaryCounts) -> FloatColumn:
    """The four counts of an image (4, T): true, found, predicted, right."""
    num_true = (score.num_true,) * len(score.predicted)
    counts = (num_true, score.found_true, score.predicted, score.right)
    return np.array(counts, dtype=np.float64)


def _at_best(counts: FloatColumn) -> FloatColumn:
    """Of the counts of N images (N, 4, T) those at each one's best threshold, (N, 4)."""
    best = np.argmax(_rates(counts.transpose(1, 0, 2))[2], axis=1)
    return np.asarray(counts[np.arange(len(counts)), :, best])


def _rates(counts: FloatColumn) -> FloatColumn:
    """Recall, precision and F (3, ...) of counts (4, ...); nothing out of nothing is 0."""
    num_true, found, predicted, right = counts
    recall = found / np.maximum(num_true, 1)
    precision = right / np.maximum(predicted, 1)
    return np.stack([recall, precision, _f(recall, precision)])


def _f(recall: FloatColumn, precision: FloatColumn) -> FloatColumn:
    total = recall + precision
    product = 2 * recall * precision
    return np.asarray(np.divide(product, total, out=np.zeros_like(total), where=total > 0))


def _best_between(cuts: FloatColumn, rates: FloatColumn) -> OperatingPoint:
    """The first largest F where recall and precision run straight from each threshold to the next."""
    columns = np.stack([cuts, *rates[:2]])
    share = np.linspace(0, 1, _STEPS_BETWEEN)
    between = columns[:, 1:, None] * share + columns[:, :-1, None] * (1 - share)
    candidates = np.concatenate([columns[:, :1], between.reshape(3, -1)], axis=1)
    f = _f(candidates[1], candidates[2])
    best = int(np.argmax(f))
    threshold, recall, precision = (float(value) for value in candidates[:, best])
    return OperatingPoint(threshold, recall, precision, float(f[best]))


def _average_precision(recall: FloatColumn, precision: FloatColumn) -> float:
    """Mean precision over recalls of 0, .01 ... 1, and none where the curve does not reach; 0 for a single recall."""
    recalls, first = np.unique(recall, return_index=True)
    if len(recalls) < 2:
        return 0.0
    wanted = np.arange(101) / 100
    return float(np.interp(wanted, recalls, precision[first], left=0, right=0).sum() * 0.01)


def _recall_at_half_precision(recall: FloatColumn, precision: FloatColumn) -> float:
    """Recall where precision is one half, or at the least precision if that is higher; 0 where it is never reached."""
    _, first = np.unique(recall, return_index=True)
    falling = first[::-1]
    precisions, place = np.unique(precision[falling], return_index=True)
    if precisions[-1] < 0.5:
        return 0.0
    return float(np.interp(max(precisions[0], 0.5), precisions, recall[falling][place]))
