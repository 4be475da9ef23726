"""Answers to words as a table, and as files: text.json with numbers and intervals, text.jsonl by image and category."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from segloop.evaluate.conditions import Origin
from segloop.evaluate.metrics import Estimate
from segloop.evaluate.report import format_columns, write_report
from segloop.evaluate.text import TextResult
from segloop.evaluate.text_summary import TextSummary, summarise_text


def text_table(results: Sequence[TextResult]) -> str:
    """A row for each dataset and prompt, and below it what the right words bring over wrong ones."""
    rows = [["dataset", "prompt", "asked", "IoU, all objects", "IoU, best object", "found"]]
    notes = []
    for result in results:
        summary = summarise_text(result)
        for prompt, answers in (
            ("words", summary.text),
            ("wrong words", summary.other_text),
            ("point", summary.point),
            ("point, words", summary.text_point),
            ("point, wrong words", summary.other_text_point),
        ):
            numbers = (answers.union_iou, answers.best_iou, answers.found)
            shown = [_show(one.mean) for one in numbers]
            rows.append([result.name, prompt, str(summary.num_asked), *shown])
        notes += _notes(result.name, summary)
    return format_columns(rows) + "".join(f"\n{note}" for note in notes) + "\n"


def write_text(
    folder: str | Path,
    results: Sequence[TextResult],
    source: str,
    origin: Origin | None = None,
) -> Path:
    """Write text.json and text.jsonl, each whole or not at all; returns the path of text.json.

    source: where the text vectors came from. origin: see write_report. Raises InputError where the folder cannot be written.
    """
    report = {
        "task": "text",
        "settings": {"vectors": source},
        "datasets": [
            {
                "name": result.name,
                "model": result.model,
                "vocabulary": result.vocabulary,
                "protocol": asdict(result.protocol),
                "counts": asdict(result.counts),
                "seconds": result.seconds,
                "summary": asdict(summarise_text(result)),
            }
            for result in results
        ],
    }
    rows = [
        {"dataset": result.name, **asdict(score)} for result in results for score in result.scores
    ]
    return write_report(Path(folder), report, rows, origin)


def _notes(name: str, summary: TextSummary) -> list[str]:
    notes = [
        f"{name}: right words bring {_show_change(gain)} IoU over wrong ones{where}{_verdict(gain)}"
        for gain, where in ((summary.gain, ""), (summary.gain_with_point, ", beside a point"))
        if not math.isnan(gain.mean)
    ]
    if summary.num_skipped:
        notes.append(f"{name}: {summary.num_skipped} images have no category to ask for")
    if summary.num_incomplete:
        notes.append(
            f"{name}: {summary.num_incomplete} times a category is not wholly annotated in an image, and was not asked for"
        )
    return notes


def _verdict(gain: Estimate) -> str:
    if gain.low > 0:
        return ""
    if gain.high < 0:
        return ": wrong words do better than right ones"
    return ": no difference beyond noise, the model does not heed the words"


def _show_change(gain: Estimate) -> str:
    return f"{gain.mean:+.3f} (95% {gain.low:+.3f} to {gain.high:+.3f})"


def _show(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
