"""Results of evaluations as they lie in folders: what was measured with what, and a score for every mask, image or box.

Scores of several runs are put on one footing here: a key that says what was scored, its image, and numbers by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from pydantic import TypeAdapter

from segloop.data.sample import Frequency
from segloop.errors import InputError
from segloop.evaluate.benchmarks import BENCHMARKS
from segloop.evaluate.edges import OPERATORS
from segloop.evaluate.metrics import FloatColumn, clicks_to_reach
from segloop.evaluate.points import NOC_TARGETS
from segloop.evaluate.recall import SIZE_RANGES

TASKS = ("points", "edges", "proposals", "instances", "text")
_NAMES_A_SCORE = ("image", "annotation_id", "category", "noise", "baseline")
_ANSWERS = ("text", "point", "text_point", "other_text", "other_text_point")
# Not every mask has all of them, so that the first mask says nothing of their order.
_RECALLS = ("recall", *(f"recall, {name}" for name in (*SIZE_RANGES, *get_args(Frequency))))

Key = tuple[Any, ...]


@dataclass(frozen=True)
class RunScore:
    """One thing that was scored. key: tells it from all others of a run, and is the same in every run that scored it.

    predicted: predicted and true IoU of each of the masks that a single click gave.
    """

    key: Key
    dataset: str
    image: str
    values: Mapping[str, float]
    category: str | None
    relative_size: float | None
    annotation_id: int | None
    predicted: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Tally:
    """What one image adds to the numbers of its dataset that are no means over images, see evaluate.benchmarks.

    condition: what tells several such of one image apart, in words; empty where there is one.
    """

    dataset: str
    condition: str
    image: str
    counts: Any


@dataclass(frozen=True)
class Run:
    """One result. report: the content of TASK.json. label: the folder's name, by which a reader knows it."""

    label: str
    task: str
    report: Mapping[str, Any]
    scores: tuple[RunScore, ...]
    tallies: tuple[Tally, ...] = ()

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the numbers, in the order in which they first come up."""
        names = dict.fromkeys(name for score in self.scores for name in score.values)
        known = [name for name in _RECALLS if name in names]
        return tuple(dict.fromkeys([*known, *names]))

    def predicted_ious(self, dataset: str) -> FloatColumn:
        """Predicted and true IoU (N, 2) of all masks of single clicks on a dataset; none where the task has no such."""
        pairs = [pair for one in self.scores if one.dataset == dataset for pair in one.predicted]
        return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def read_run(folder: str | Path) -> Run:
    """Read the result in a folder, or the TASK.json named; InputError where there is none, several, or a damaged one."""
    place = Path(folder)
    found = [task for task in TASKS if (place / f"{task}.json").is_file()]
    if place.suffix == ".json" and place.stem in TASKS and place.is_file():
        place, found = place.parent, [place.stem]
    if not found:
        raise InputError(f"{place} holds no result of segloop evaluate ({', '.join(TASKS)})")
    if len(found) > 1:
        raise InputError(
            f"{place} holds several results: name one of {', '.join(str(place / f'{task}.json') for task in found)}"
        )
    (task,) = found
    report = _read(place / f"{task}.json")
    if not isinstance(report, dict) or report.get("task") != task or "datasets" not in report:
        raise InputError(f"{place / f'{task}.json'} is not a result of segloop evaluate {task}")
    entries = tuple(_entries(place / f"{task}.jsonl", task, _most_clicks(report)))
    scores = tuple(one for one in entries if isinstance(one, RunScore))
    tallies = tuple(one for one in entries if isinstance(one, Tally))
    return Run(place.name or str(place), task, report, scores, tallies)


def read_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read several results as read_run does; those in folders of one name are known by the paths that were given."""
    runs = [read_run(folder) for folder in folders]
    if len({run.label for run in runs}) == len(runs):
        return runs
    return [replace(run, label=str(place)) for run, place in zip(runs, folders, strict=True)]


def named(measure: str, condition: str) -> str:
    """A measure under a condition, in words."""
    return f"{measure}, {condition}" if condition else measure


def _most_clicks(report: Mapping[str, Any]) -> int:
    """Of the protocol, which is one for all datasets of a run."""
    protocols = [one.get("protocol", {}) for one in report["datasets"]]
    return max((int(one.get("max_clicks", 0)) for one in protocols), default=0)


def _entries(path: Path, task: str, most_clicks: int) -> Iterator[RunScore | Tally]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    adapter = TypeAdapter(BENCHMARKS[task].counts) if task in BENCHMARKS else None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if row.get("baseline"):
                continue
            if adapter is not None and "counts" in row:
                counts = adapter.validate_python(row["counts"])
                yield Tally(_dataset(row), _condition(row), str(row["image"]), counts)
            if values := _values(task, row, most_clicks):
                yield _score(row, values)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path}, line {number}, is not a score of {task}") from error


def _score(row: Mapping[str, Any], values: Mapping[str, float | None]) -> RunScore:
    dataset = _dataset(row)
    return RunScore(
        key=(dataset, *((name, row[name]) for name in _NAMES_A_SCORE if name in row)),
        dataset=dataset,
        image=str(row["image"]),
        values={
            name: float(value)
            for name, value in values.items()
            if value is not None and math.isfinite(value)
        },
        category=row.get("category"),
        relative_size=row.get("relative_size"),
        annotation_id=row.get("annotation_id"),
        predicted=tuple(
            zip(row.get("three_predicted_ious", ()), row.get("three_ious", ()), strict=True)
        ),
    )


def _dataset(row: Mapping[str, Any]) -> str:
    """The dataset of a line, with the operator where no model was scored on it."""
    operator = f", {row['finder']}" if row.get("finder") in OPERATORS else ""
    return f"{row['dataset']}{operator}"


def _condition(row: Mapping[str, Any]) -> str:
    return f"noise {row['noise']:g}" if row.get("noise") else ""


def _values(task: str, row: Mapping[str, Any], most_clicks: int) -> dict[str, float | None]:
    """The numbers of a line of TASK.jsonl that are compared."""
    if task == "points":
        ious = row["click_ious"]
        clicks = {
            "1 click" if count == 1 else f"{count} clicks": ious[min(count, len(ious)) - 1]
            for count in (1, 2, 3, 5, 9)
        }
        others = {"oracle": max(row["three_ious"]), "single": row["single_iou"]}
        return {**clicks, **others, "box": row["box_iou"], **_clicks_needed(ious, most_clicks)}
    if task == "proposals":
        return {**_recalls(row), "best IoU": row["best_iou"]}
    if task == "instances":
        if "counts" in row:
            return {}
        ious = {"first IoU": row["first_iou"], "IoU fed back": row["iou"]}
        return {named(measure, _condition(row)): iou for measure, iou in ious.items()}
    if task == "edges":
        return {"best F": row["best"]["f"]}
    return dict(_leaves({name: row.get(name) for name in _ANSWERS}, ""))


def _clicks_needed(ious: Sequence[float], most_clicks: int) -> dict[str, float | None]:
    """Clicks to each target, the most where it is not reached, and whether that is so: the fewer the better, both."""
    values: dict[str, float | None] = {}
    for target in NOC_TARGETS:
        needed = clicks_to_reach(ious, target, most_clicks)
        percent = round(target * 100)
        values[f"NoC@{percent}"] = float(most_clicks if needed is None else needed)
        values[f"failed@{percent}"] = float(needed is None)
    return values


def _recalls(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Recall among all true masks, among those of its size or sizes, and among those of categories as frequent."""
    values: dict[str, float | None] = {"recall": row["found"]}
    for group, found in (
        ("size", "found_in_size"),
        ("larger_size", "found_in_larger_size"),
        ("frequency", "found_in_frequency"),
    ):
        if row.get(group) is not None:
            values[f"recall, {row[group]}"] = row[found]
    return values


def _leaves(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """Every number between 0 and 1 in nested fields, under the names of the fields it lies in."""
    if isinstance(value, Mapping):
        for inner, one in value.items():
            yield from _leaves(one, f"{name} {inner}".strip())
    elif isinstance(value, bool | float) and name and 0 <= value <= 1:
        yield name, float(value)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged: it is not JSON") from error
