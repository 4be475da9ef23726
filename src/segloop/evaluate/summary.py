"""From the scores of every mask to the numbers that are reported, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter, methodcaller

import numpy as np

from segloop.evaluate.metrics import Estimate, bootstrap_mean, clicks_to_reach, spearman
from segloop.evaluate.points import NOC_TARGETS, MaskScores, PointsResult, Refinement

SIZE_EDGES = (0.0, 0.05, 0.1, 0.2, 0.4, 1.0)


@dataclass(frozen=True)
class ClickIou:
    """Mean IoU after so many clicks."""

    clicks: int
    iou: Estimate


@dataclass(frozen=True)
class ClicksNeeded:
    """Mean number of clicks to an IoU (NoC); a mask that never reaches it counts as the most clicks, and as failed."""

    target: float
    mean: float
    num_failed: int
    failed_share: float


@dataclass(frozen=True)
class SizeBin:
    """Scores of the masks whose relative size (square root of the share of the image) is in low <= size < high."""

    low: float
    high: float
    num_masks: int
    one_click_iou: float
    box_iou: float


@dataclass(frozen=True)
class RefinementMean:
    """Mean IoU of rough masks given as the only prompt, and of what came back."""

    num_masks: int
    iou_in: float
    iou_out: float


@dataclass(frozen=True)
class PointsSummary:
    """The numbers of one dataset. spearman: predicted against true IoU, over the three masks of every first click."""

    clicks: tuple[ClickIou, ...]
    oracle: Estimate
    single: Estimate
    box: Estimate
    noc: tuple[ClicksNeeded, ...]
    spearman: float
    sizes: tuple[SizeBin, ...]
    worn: RefinementMean
    grown: RefinementMean


@dataclass(frozen=True)
class Figure:
    """One number under its title."""

    title: str
    value: float


def summarise(result: PointsResult) -> PointsSummary:
    """Reduce the scores of all masks to the numbers that are reported."""
    scores, protocol = result.scores, result.protocol
    images = [score.image for score in scores]

    def estimate(measure: Callable[[MaskScores], float]) -> Estimate:
        return bootstrap_mean([measure(score) for score in scores], images, protocol.seed)

    return PointsSummary(
        clicks=tuple(
            ClickIou(clicks, estimate(methodcaller("iou_after", clicks)))
            for clicks in protocol.clicks
        ),
        oracle=estimate(attrgetter("oracle_iou")),
        single=estimate(attrgetter("single_iou")),
        box=estimate(attrgetter("box_iou")),
        noc=tuple(_clicks_needed(scores, target, protocol.max_clicks) for target in NOC_TARGETS),
        spearman=spearman(
            [iou for score in scores for iou in score.three_predicted_ious],
            [iou for score in scores for iou in score.three_ious],
        ),
        sizes=tuple(_size_bin(scores, low, high) for low, high in pairwise(SIZE_EDGES)),
        worn=_refinement_mean([score.worn for score in scores]),
        grown=_refinement_mean([score.grown for score in scores]),
    )


def headline(summary: PointsSummary) -> tuple[Figure, ...]:
    """The numbers a reader looks for first, in the order of a table's columns."""
    figures = [
        Figure("1 click" if one.clicks == 1 else f"{one.clicks} clicks", one.iou.mean)
        for one in summary.clicks
    ]
    figures += [
        Figure("oracle", summary.oracle.mean),
        Figure("single", summary.single.mean),
        Figure("box", summary.box.mean),
    ]
    for needed in summary.noc:
        percent = round(needed.target * 100)
        figures += [
            Figure(f"NoC@{percent}", needed.mean),
            Figure(f"failed@{percent}", needed.failed_share),
        ]
    return (*figures, Figure("Spearman", summary.spearman))


def mean_of_datasets(summaries: Sequence[PointsSummary]) -> tuple[Figure, ...]:
    """The headline with each dataset weighing the same (paper §7.1)."""
    columns = zip(*(headline(summary) for summary in summaries), strict=True)
    return tuple(
        Figure(column[0].title, _mean([figure.value for figure in column])) for column in columns
    )


def _clicks_needed(scores: Sequence[MaskScores], target: float, max_clicks: int) -> ClicksNeeded:
    needed = [clicks_to_reach(score.click_ious, target, max_clicks) for score in scores]
    counted = [max_clicks if clicks is None else clicks for clicks in needed]
    failed = [clicks is None for clicks in needed]
    return ClicksNeeded(target, _mean(counted), sum(failed), _mean(failed))


def _size_bin(scores: Sequence[MaskScores], low: float, high: float) -> SizeBin:
    # The whole image (relative size 1) belongs to the last bin.
    inside = [s for s in scores if low <= s.relative_size < high or s.relative_size == high == 1.0]
    one_click = _mean([score.iou_after(1) for score in inside])
    return SizeBin(low, high, len(inside), one_click, _mean([score.box_iou for score in inside]))


def _refinement_mean(refinements: Sequence[Refinement | None]) -> RefinementMean:
    pairs = [pair for pair in refinements if pair is not None]
    iou_in = _mean([pair.iou_in for pair in pairs])
    return RefinementMean(len(pairs), iou_in, _mean([pair.iou_out for pair in pairs]))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
