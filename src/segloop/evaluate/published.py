"""What has been published of SAM on the 23 sets, beside what a run scored there (paper §7.1, figure 9a; SAM 2's paper).

The paper gives SAM's mean IoU by set only as the difference to RITM; the means over all sets are from SAM 2's paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segloop.data.sets.registry import SETS


@dataclass(frozen=True)
class PublishedModel:
    """Mean over the 23 sets of SAM's mean IoU after one click and after five, in points of 100."""

    name: str
    one_click: float
    five_clicks: float


SAM = (PublishedModel("SAM ViT-H", 58.1, 81.3), PublishedModel("SAM ViT-B", 55.9, 80.9))


@dataclass(frozen=True)
class SetScore:
    """What a run scored on one set. one_click_iou: mean IoU of its masks after one click, 0 to 1."""

    name: str
    one_click_iou: float
    num_images: int
    num_masks: int


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

    mean: of the sets that were scored, each weighing the same, in points of 100; None where there are none. Only with all
    of them is it to be held against the published means.
    """

    rows: tuple[SetRow, ...]
    num_scored: int
    mean: float | None
    models: tuple[PublishedModel, ...] = SAM

    @property
    def is_complete(self) -> bool:
        """Whether all 23 sets were scored."""
        return self.num_scored == len(self.rows)


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
    return Comparison(tuple(rows), len(scored), float(np.mean(scored)) if scored else None)


def published_table(comparison: Comparison) -> str:
    """The comparison in Markdown."""
    lines = [
        "| set | images | masks | 1 click | paper's images | masks | SAM - RITM, 1 click |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in comparison.rows:
        cells = [
            f"{row.name}: {row.title}",
            _show(row.num_images),
            _show(row.num_masks),
            _show(row.one_click_iou),
            str(row.published_images),
            str(row.published_masks),
            f"{row.sam_minus_ritm:+.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    num_sets = len(comparison.rows)
    lines += ["", f"Mean of {comparison.num_scored} of {num_sets} sets: {_show(comparison.mean)}."]
    for model in comparison.models:
        lines.append(
            f"Published for {model.name} on all {num_sets}: {model.one_click} (1 click), "
            f"{model.five_clicks} (5 clicks)."
        )
    return "\n".join(lines) + "\n"


def _show(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.1f}"
