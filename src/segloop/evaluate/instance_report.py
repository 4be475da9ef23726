"""Instances as a table and as files.

instances.json has the numbers at each level of noise, instances.jsonl every box, and the outcomes of every image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from segloop.evaluate.conditions import Origin
from segloop.evaluate.instances import InstancesResult, LevelSummary, summarise_instances
from segloop.evaluate.report import format_columns, write_report

# AP and AP by size of masks from the boxes of ViTDet-H, which is trained on each set (paper table 5).
PUBLISHED = {
    "COCO: ViTDet-H": (0.510, 0.320, 0.543, 0.689),
    "COCO: SAM ViT-H, boxes of ViTDet-H": (0.465, 0.308, 0.510, 0.617),
    "LVIS v1: ViTDet-H": (0.466, 0.350, 0.580, 0.663),
    "LVIS v1: SAM ViT-H, boxes of ViTDet-H": (0.447, 0.325, 0.576, 0.655),
}


def instances_table(results: Sequence[InstancesResult]) -> str:
    """Average precision and mean IoU as text, a line for each level of noise."""
    titles = ["dataset", "images", "boxes", "noise", "AP", "95%", "AP50", "AP75", "S", "M", "L"]
    summaries = [summarise_instances(result) for result in results]
    frequencies = sorted(
        {
            one.frequency
            for summary in summaries
            for level in summary.levels
            for one in level.precision.frequencies
        }
    )
    rows = [[*titles, *frequencies, "first IoU", "fed back"]]
    for result, summary in zip(results, summaries, strict=True):
        counts = [str(result.counts.num_images), str(summary.num_boxes)]
        rows += [
            [result.name, *counts, f"{level.noise:g}", *_numbers(level, frequencies)]
            for level in summary.levels
        ]
    for name, numbers in PUBLISHED.items():
        ap, *sizes = map(_show, numbers)
        empty = [""] * (len(frequencies) + 2)
        rows.append([f"published on {name}", "", "", "", ap, "", "", "", *sizes, *empty])
    return format_columns(rows)


def write_instances(
    folder: str | Path,
    results: Sequence[InstancesResult],
    boxes: str,
    *,
    model: str | None = None,
    closer: bool | None = None,
    origin: Origin | None = None,
) -> Path:
    """Write instances.json and instances.jsonl, each whole or not at all; returns the path of instances.json.

    boxes: where they are from, in words. model: the name or path it was loaded by. closer: see Predictor. origin: see
    write_report. Raises InputError where the folder cannot be written.
    """
    report = {
        "task": "instances",
        "settings": {"boxes": boxes, "model": model, "closer": closer},
        "datasets": [
            {
                "name": result.name,
                "model": result.model,
                "protocol": asdict(result.protocol),
                "counts": asdict(result.counts),
                "seconds": result.seconds,
                "summary": asdict(summarise_instances(result)),
            }
            for result in results
        ],
    }
    rows = [
        {"dataset": result.name, "image": image.image, "noise": level.noise, **asdict(score)}
        for result in results
        for image in result.images
        for level in image.levels
        for score in level.scores
    ]
    rows += [
        {
            "dataset": result.name,
            "image": image.image,
            "noise": level.noise,
            "counts": asdict(level.outcomes),
        }
        for result in results
        for image in result.images
        for level in image.levels
    ]
    return write_report(Path(folder), report, rows, origin)


def _numbers(level: LevelSummary, frequencies: Sequence[str]) -> list[str]:
    precision = level.precision
    by_frequency: dict[str, float] = {one.frequency: one.ap for one in precision.frequencies}
    return [
        _show(level.ap.mean),
        f"{_show(level.ap.low)}-{_show(level.ap.high)}",
        *map(_show, (precision.ap50, precision.ap75)),
        *map(_show, (precision.small, precision.medium, precision.large)),
        *(_show(by_frequency.get(name, math.nan)) for name in frequencies),
        _show(level.first_iou.mean),
        _show(level.iou.mean),
    ]


def _show(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
