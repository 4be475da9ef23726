"""What has been published of SAM on the 23 sets, beside what a run scored there (paper §7.1, figure 9a; SAM 2's paper).

The paper gives SAM's mean IoU by set only as the difference to RITM; the means over all sets are from SAM 2's paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segloop.data.sets.registry import SETS
from segloop.evaluate.points import PointsResult


@dataclass(frozen=True)
class PublishedModel:
    """Mean over the 23 sets of SAM's mean IoU after one click and after five, in points of 100."""

    name: str
    one_click: float
    five_clicks: float


SAM = (PublishedModel("SAM ViT-H", 58.1, 81.3), PublishedModel("SAM ViT-B", 55.9, 80.9))


@dataclass(frozen=True)
class SetScore:
    """What a run scored on one set. one_click_iou, five_clicks_iou: mean IoU of its masks after so many clicks, 0 to 1."""

    name: str
    one_click_iou: float
    num_images: int
    num_masks: int
    five_clicks_iou: float | None = None


@dataclass(frozen=True)
class SetRow:
    """One set: a run's mean IoU after one click beside the published difference of SAM to RITM, in points of 100.

    one_click_iou and the run's counts are None where the run did not score the set. title says where a layout is a guess.
    """

    name: str
    title: str
    one_click_iou: float | None
    sam_minus_ritm: float
    num_images: int | None
    num_masks: int | None
    published_images: int
    published_masks: int


@dataclass(frozen=True)
class Comparison:
    """A run beside the published numbers, set by set in the paper's order.

    mean, five_clicks_mean: of the sets that were scored, each weighing the same, in points of 100; None where there are
    none, or where one has no such score. Only with all of them are they to be held against the published means.
    """

    rows: tuple[SetRow, ...]
    num_scored: int
    mean: float | None
    models: tuple[PublishedModel, ...] = SAM
    five_clicks_mean: float | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all 23 sets were scored."""
        return self.num_scored == len(self.rows)


def compare_results(results: Sequence[PointsResult]) -> Comparison | None:
    """Results beside the published numbers; None where none of the paper's 23 sets is among them."""
    known = {name.lower() for name in SETS}
    scores = [
        SetScore(
            one.name,
            float(np.mean([score.iou_after(1) for score in one.scores])),
            one.counts.num_images,
            one.counts.num_masks,
            float(np.mean([score.iou_after(5) for score in one.scores])),
        )
        for one in results
        if one.name.lower() in known and one.scores
    ]
    return beside_published(scores) if scores else None


def beside_published(scores: Sequence[SetScore]) -> Comparison:
    """Set a run beside the published numbers; sets that are not among the 23 are left out."""
    by_name = {score.name.lower(): score for score in scores}
    rows = []
    for info in SETS.values():
        score = by_name.get(info.name.lower())
        rows.append(
            SetRow(
                name=info.name,
                title=info.label,
                one_click_iou=None if score is None else 100 * score.one_click_iou,
                sam_minus_ritm=info.sam_minus_ritm,
                num_images=None if score is None else score.num_images,
                num_masks=None if score is None else score.num_masks,
                published_images=info.num_images,
                published_masks=info.num_masks,
            )
        )
    scored = [row.one_click_iou for row in rows if row.one_click_iou is not None]
    known = [by_name[row.name.lower()] for row in rows if row.one_click_iou is not None]
    fives = [100 * one.five_clicks_iou for one in known if one.five_clicks_iou is not None]
    return Comparison(
        tuple(rows),
        len(scored),
        float(np.mean(scored)) if scored else None,
        five_clicks_mean=float(np.mean(fives)) if known and len(fives) == len(known) else None,
    )


PUBLISHED_HEAD = (
    "set",
    "images",
    "masks",
    "1 click",
    "paper's images",
    "masks",
    "SAM - RITM, 1 click",
)


def published_rows(comparison: Comparison) -> tuple[tuple[str, ...], ...]:
    """The comparison as cells below PUBLISHED_HEAD."""
    return tuple(
        (
            f"{row.name}: {row.title}",
            _show(row.num_images),
            _show(row.num_masks),
            _show(row.one_click_iou),
            str(row.published_images),
            str(row.published_masks),
            f"{row.sam_minus_ritm:+.1f}",
        )
        for row in comparison.rows
    )


def published_notes(comparison: Comparison) -> tuple[str, ...]:
    """The run's means and those that were published, a sentence each."""
    num_sets = len(comparison.rows)
    means = _show(comparison.mean)
    if comparison.five_clicks_mean is not None:
        means += f" (1 click), {_show(comparison.five_clicks_mean)} (5 clicks)"
    return (
        f"Mean of {comparison.num_scored} of {num_sets} sets: {means}.",
        *(
            f"Published for {model.name} on all {num_sets}: {model.one_click} (1 click), "
            f"{model.five_clicks} (5 clicks)."
            for model in comparison.models
        ),
    )


def published_table(comparison: Comparison) -> str:
    """The comparison in Markdown."""
    lines = [PUBLISHED_HEAD, ("---", *["--:"] * 6), *published_rows(comparison)]
    table = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([*table, "", *published_notes(comparison)]) + "\n"


def _show(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.1f}"
