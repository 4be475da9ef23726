"""What fine-tuning gained on images held out: each mask against itself, before and after."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segloop.evaluate.conditions import describe_conditions
from segloop.evaluate.metrics import Estimate, bootstrap_mean
from segloop.evaluate.points import MaskScores, PointsProtocol, PointsResult
from segloop.evaluate.report import format_columns, write_text

REPORT_NAME = "report.json"
PROTOCOL = PointsProtocol((1, 3), max_clicks=3)

_MEASURES: dict[str, Callable[[MaskScores], float]] = {
    "1 click": lambda score: score.iou_after(1),
    "3 clicks": lambda score: score.iou_after(3),
    "box": lambda score: score.box_iou,
}


@dataclass(frozen=True)
class Change:
    """Mean IoU of one kind of prompt, before and after, with 95% intervals; gain is of each mask over itself."""

    prompt: str
    before: Estimate
    after: Estimate
    gain: Estimate


@dataclass(frozen=True)
class TuningReport:
    """What was trained, on what, for how long, and what came of it; changes is empty where nothing was held out.

    seconds: of training in this run of the command, by the clock on the wall. categories: masks of each class, where named.
    """

    model: str
    start: str
    recipe: str
    data: str
    num_images: int
    num_masks: int
    categories: dict[str, int]
    num_train_images: int
    num_test_images: int
    num_test_masks: int
    steps: int
    seconds: float
    changes: tuple[Change, ...]


def changes_between(before: PointsResult, after: PointsResult) -> tuple[Change, ...]:
    """What happened to each kind of prompt; both are scores of the same masks."""
    images = [score.image for score in before.scores]
    assert images == [score.image for score in after.scores]
    found = []
    for prompt, measure in _MEASURES.items():
        first = [measure(score) for score in before.scores]
        second = [measure(score) for score in after.scores]
        gains = [end - begin for begin, end in zip(first, second, strict=True)]
        estimates = [
            bootstrap_mean(column, images, PROTOCOL.seed) for column in (first, second, gains)
        ]
        found.append(Change(prompt, *estimates))
    return tuple(found)


def changes_table(changes: Sequence[Change]) -> str:
    """The changes as text."""
    rows = [("", *(change.prompt for change in changes))]
    rows.append(("before", *(f"{change.before.mean:.3f}" for change in changes)))
    rows.append(("after", *(f"{change.after.mean:.3f}" for change in changes)))
    rows.append(("gain", *(f"{change.gain.mean:+.3f}" for change in changes)))
    intervals = (f"{change.gain.low:+.3f} to {change.gain.high:+.3f}" for change in changes)
    rows.append(("95% of the gain", *intervals))
    return format_columns(rows)


def write_tuning_report(folder: Path, report: TuningReport) -> Path:
    """Write report.json, whole or not at all; InputError where the folder refuses."""
    content: dict[str, Any] = {
        "task": "finetune",
        **asdict(report),
        "conditions": asdict(describe_conditions()),
    }
    return write_text(folder / REPORT_NAME, json.dumps(content, indent=2) + "\n")
