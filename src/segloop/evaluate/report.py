"""What an evaluation leaves behind: numbers with intervals, a table to read, and files to keep.

points.json or proposals.json holds the configuration and the summary; the .jsonl beside it one line for every mask.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from segloop.errors import InputError
from segloop.evaluate.baselines import BaselinesResult
from segloop.evaluate.conditions import Origin, describe_conditions
from segloop.evaluate.points import WEAR_PX, PointsResult
from segloop.evaluate.proposals import ProposalsResult, ProposalsSummary, summarise_proposals
from segloop.evaluate.published import compare_results
from segloop.evaluate.summary import (
    Figure,
    PointsSummary,
    headline,
    mean_of_datasets,
    summarise,
)
from segloop.predict.automatic import AutomaticConfig

_BASELINES = (
    ("filled box", "filled_box_iou", "box"),
    ("GrabCut from box", "grabcut_iou", "box"),
    ("Felzenszwalb region", "felzenszwalb_iou", "1 click"),
)


def points_table(results: Sequence[PointsResult], baselines: Sequence[BaselinesResult] = ()) -> str:
    """The results as text: scores by clicks and box, refinement of rough masks, and the baselines."""
    blocks = []
    if results:
        summaries = [summarise(result) for result in results]
        blocks += [_score_block(results, summaries), _refinement_block(results, summaries)]
    if baselines:
        blocks.append(_baseline_block(baselines))
    return "\n".join(blocks)


def write_points(
    folder: str | Path,
    results: Sequence[PointsResult],
    baselines: Sequence[BaselinesResult] = (),
    *,
    model: str | None = None,
    closer: bool | None = None,
    origin: Origin | None = None,
) -> Path:
    """Write points.json and points.jsonl, each whole or not at all; returns the path of points.json.

    model: the name or path it was loaded by. closer: see Predictor. origin: see write_report. Raises InputError where
    the folder cannot be written.
    """
    summaries = [summarise(result) for result in results]
    rows = [
        {"dataset": result.name, **asdict(score)} for result in results for score in result.scores
    ]
    rows += [
        {"dataset": result.name, "baseline": True, **asdict(score)}
        for result in baselines
        for score in result.scores
    ]
    report = {
        "task": "points",
        "settings": {"model": model, "closer": closer},
        "datasets": [
            _points_record(result, summary)
            for result, summary in zip(results, summaries, strict=True)
        ],
        "mean_of_datasets": {figure.title: figure.value for figure in mean_of_datasets(summaries)},
        "baselines": [_baselines_record(result) for result in baselines],
        "published": asdict(comparison) if (comparison := compare_results(results)) else None,
    }
    return write_report(Path(folder), report, rows, origin)


# All, small, medium, large, and frequent, common, rare, of at most 1000 masks on LVIS v1 val: paper table 4.
_PUBLISHED_RECALL = {
    "ViTDet-H, trained on LVIS": ((0.630, 0.517, 0.808, 0.870), (0.631, 0.633, 0.583)),
    "SAM ViT-H, single output": ((0.549, 0.428, 0.767, 0.744), (0.547, 0.598, 0.620)),
    "SAM ViT-H": ((0.593, 0.455, 0.816, 0.869), (0.591, 0.639, 0.658)),
}


def proposals_table(results: Sequence[ProposalsResult]) -> str:
    """Average recall of automatic masks as text, by size of the true masks, with proposals and seconds of an image."""
    rows = []
    for result in results:
        summary = summarise_proposals(result)
        sizes = [_show(one.average_recall.mean) for one in summary.sizes]
        rows.append(
            [
                result.name,
                str(result.counts.num_images),
                str(result.counts.num_masks),
                _show(summary.average_recall.mean),
                *sizes,
                _show(summary.mean_best_iou.mean),
                f"{summary.mean_proposals:.0f}",
                f"{summary.median_seconds:.1f}",
            ]
        )
    for name, (recalls, _) in _PUBLISHED_RECALL.items():
        rows.append([_published(name), "", "", *map(_show, recalls), "", "", ""])
    recall = f"AR@{results[0].max_proposals}" if results else "AR"
    titles = ["dataset", "images", "masks", recall, "small", "medium", "large"]
    table = format_columns([[*titles, "best IoU", "proposals", "seconds"], *rows])
    by_frequency = [
        [result.name, one.frequency, str(one.num_masks), _show(one.average_recall.mean)]
        for result in results
        for one in summarise_proposals(result).frequencies
    ]
    if by_frequency:
        by_frequency += [
            [_published(name), frequency, "", _show(value)]
            for name, (_, recalls) in _PUBLISHED_RECALL.items()
            for frequency, value in zip(("frequent", "common", "rare"), recalls, strict=True)
        ]
        table += "\n" + format_columns([["dataset", "categories", "masks", recall], *by_frequency])
    return table


def _published(name: str) -> str:
    return f"published on LVIS v1 val: {name}"


def write_proposals(
    folder: str | Path,
    results: Sequence[ProposalsResult],
    settings: AutomaticConfig,
    *,
    outputs: Literal["single", "three"] = "three",
    origin: Origin | None = None,
) -> Path:
    """Write proposals.json and proposals.jsonl, each whole or not at all; returns the path of proposals.json.

    outputs: of the decoder, that made the proposals. origin: see write_report. Raises InputError where the folder
    cannot be written.
    """
    rows = [
        {"dataset": result.name, **asdict(score)} for result in results for score in result.scores
    ]
    report = {
        "task": "proposals",
        "settings": {**asdict(settings), "outputs": outputs},
        "datasets": [_proposals_record(result, summarise_proposals(result)) for result in results],
    }
    return write_report(Path(folder), report, rows, origin)


def _proposals_record(result: ProposalsResult, summary: ProposalsSummary) -> dict[str, Any]:
    return {
        "name": result.name,
        "model": result.model,
        "protocol": {
            "max_proposals": result.max_proposals,
            "ranking": result.ranking,
            "limit": result.limit,
            "seed": result.seed,
        },
        "counts": asdict(result.counts),
        "summary": asdict(summary),
        "images": [asdict(image) for image in result.images],
    }


def write_report(
    folder: Path,
    report: dict[str, Any],
    rows: list[dict[str, Any]],
    origin: Origin | None = None,
) -> Path:
    """Write TASK.json with the machine and the versions added, and TASK.jsonl; returns the path of TASK.json.

    origin: as it was when the run began; without it the conditions are those of now.
    """
    if origin is not None:
        report |= {"model": origin.model, "device": asdict(origin.device)}
        report |= {"data": [asdict(one) for one in origin.data]}
    conditions = describe_conditions() if origin is None else origin.conditions
    report = {**report, **asdict(conditions)}
    task = report["task"]
    write_text(folder / f"{task}.jsonl", "".join(json.dumps(_finite(row)) + "\n" for row in rows))
    return write_text(folder / f"{task}.json", json.dumps(_finite(report), indent=2) + "\n")


def _points_record(result: PointsResult, summary: PointsSummary) -> dict[str, Any]:
    return {
        "name": result.name,
        "model": result.model,
        "protocol": asdict(result.protocol),
        "counts": asdict(result.counts),
        "seconds": result.seconds,
        "summary": asdict(summary),
    }


def _baselines_record(result: BaselinesResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "seed": result.seed,
        "counts": asdict(result.counts),
        "seconds": result.seconds,
        "summary": {column: asdict(result.estimate(column)) for _, column, _ in _BASELINES},
    }


def _score_block(results: Sequence[PointsResult], summaries: Sequence[PointsSummary]) -> str:
    rows = []
    for result, summary in zip(results, summaries, strict=True):
        counts = [str(result.counts.num_images), str(result.counts.num_masks)]
        rows.append([result.name, *counts, *_values(headline(summary))])
    if len(results) > 1:
        rows.append(["mean of datasets", "", "", *_values(mean_of_datasets(summaries))])
    titles = [figure.title for figure in headline(summaries[0])]
    return format_columns([["dataset", "images", "masks", *titles], *rows])


def _refinement_block(results: Sequence[PointsResult], summaries: Sequence[PointsSummary]) -> str:
    rows = [[f"mask prompt, {WEAR_PX} px off", "worn in", "out", "grown in", "out"]]
    for result, summary in zip(results, summaries, strict=True):
        ious = [
            one for pair in (summary.worn, summary.grown) for one in (pair.iou_in, pair.iou_out)
        ]
        rows.append([result.name, *(_show(iou) for iou in ious)])
    return format_columns(rows)


def _baseline_block(baselines: Sequence[BaselinesResult]) -> str:
    rows = [["baseline", "prompt", *(result.name for result in baselines)]]
    for title, column, prompt in _BASELINES:
        rows.append([title, prompt, *(_show(result.estimate(column).mean) for result in baselines)])
    return format_columns(rows)


def _values(figures: Sequence[Figure]) -> list[str]:
    return [_show(figure.value) for figure in figures]


def format_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines of text, the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _show(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _finite(value: Any) -> Any:
    """JSON has no NaN: null says that there was nothing to measure."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path: Path, text: str) -> Path:
    """Write a file, whole or not at all; InputError where that cannot be done."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return path
