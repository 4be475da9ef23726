"""Runs side by side, and one run split into groups: means with intervals, and which differences exceed chance.

Images are drawn anew, not masks: those of one image are not independent. Two runs are compared on what both have scored,
each mask with itself; groups (paper §6) are compared as they are.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from segloop.errors import InputError
from segloop.evaluate.benchmarks import BENCHMARKS
from segloop.evaluate.groups import (
    FEWEST_IMAGES,
    Group,
    GroupDifference,
    Grouping,
    GroupOf,
    group_tallies,
)
from segloop.evaluate.metrics import (
    Estimate,
    FloatColumn,
    bootstrap_mean,
    bootstrap_mean_of_sets,
)
from segloop.evaluate.runs import Run, RunScore, Tally, named
from segloop.evaluate.summary import SIZE_EDGES

NUM_DRAWS = 2000


@dataclass(frozen=True)
class Cell:
    """One run's mean of one measure on one dataset; difference: to the first run, None for that one and without pairs."""

    run: str
    num_scores: int
    mean: Estimate
    difference: Estimate | None

    @property
    def exceeds_chance(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        return self.difference is not None and (self.difference.low > 0 or self.difference.high < 0)


@dataclass(frozen=True)
class Line:
    """One measure on one dataset, a cell for each run that has it."""

    dataset: str
    measure: str
    cells: tuple[Cell, ...]


def compare_runs(runs: Sequence[Run], seed: int = 0) -> tuple[Line, ...]:
    """Every measure on every dataset, run by run, the first being what the others are held against.

    Raises InputError for runs of several tasks, and where no two have scored anything in common.
    """
    if not runs:
        raise InputError("there is no run to report: name one or more folders")
    if len(tasks := {run.task for run in runs}) > 1:
        raise InputError(f"runs of several tasks cannot be compared: {', '.join(sorted(tasks))}")
    known = [_scored(run) for run in runs]
    if len(runs) > 1 and not any(known[0] & other for other in known[1:]):
        raise InputError(f"{runs[0].label} and the other runs have no image in common")
    tallied = dict.fromkeys(tally.dataset for run in runs for tally in run.tallies)
    datasets = tallied | dict.fromkeys(score.dataset for run in runs for score in run.scores)
    measures = dict.fromkeys(name for run in runs for name in run.measures)
    lines = []
    for dataset in datasets:
        lines += _benchmark_lines(runs, dataset, seed)
        for measure in measures:
            cells = tuple(
                _cell(run, runs[0] if number else None, dataset, measure, seed)
                for number, run in enumerate(runs)
            )
            if any(cell.num_scores for cell in cells):
                lines.append(Line(dataset, measure, cells))
    if runs[0].task == "points":
        lines += _mean_lines(runs, tuple(datasets), tuple(measures), seed)
    return tuple(lines)


def group_scores(run: Run, group_of: GroupOf, seed: int = 0) -> tuple[Grouping, ...]:
    """Split every measure of a run on every dataset; InputError where nothing belongs to a group.

    The numbers of whole sets are split where images or categories are: an object is no part of an edge map.
    """
    groupings = [*group_tallies(run, group_of, seed)]
    for dataset in dict.fromkeys(score.dataset for score in run.scores):
        for measure in run.measures:
            members: dict[str, list[RunScore]] = {}
            num_left_out = 0
            for score in _having(run, dataset, measure):
                name = group_of(score)
                if name is None:
                    num_left_out += 1
                else:
                    members.setdefault(name, []).append(score)
            if members:
                groupings.append(_grouping(run, dataset, measure, members, num_left_out, seed))
    if not groupings:
        raise InputError(f"no score of {run.label} belongs to any group")
    return tuple(groupings)


def by_category(score: RunScore) -> str | None:
    """The group of a score by its object's class."""
    return score.category


def by_size(score: RunScore) -> str | None:
    """The group of a score by its object's relative size: the square root of its share of the image."""
    if score.relative_size is None:
        return None
    for low, high in pairwise(SIZE_EDGES):
        if low <= score.relative_size < high or score.relative_size == high == 1.0:
            return f"{low:g} to {high:g}"
    return None


def by_file(path: str | Path, column: str = "group") -> GroupOf:
    """Groups from a table with commas: columns image and `column`, and annotation_id where masks of an image differ.

    Raises InputError for a file that is no such table, or one that has an image or a mask in two groups.
    """
    try:
        # With the mark that spreadsheets put in front, or without.
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    if not rows or not {"image", column} <= rows[0].keys():
        raise InputError(
            f"{path} needs a first line with the columns image, {column} (and annotation_id)"
        )
    has_ids = "annotation_id" in rows[0]
    groups: dict[tuple[str, str], str] = {}
    for row in rows:
        if row[column]:
            key = (row["image"], row["annotation_id"] if has_ids else "")
            if groups.setdefault(key, row[column]) != row[column]:
                raise InputError(
                    f"{path} has {' '.join(key).strip()} in two groups, {groups[key]} and {row[column]}"
                )

    def group_of(score: RunScore) -> str | None:
        return groups.get((score.image, str(score.annotation_id) if has_ids else ""))

    return group_of


def bootstrap_difference(
    first: FloatColumn,
    first_images: Sequence[str],
    second: FloatColumn,
    second_images: Sequence[str],
    seed: int,
) -> Estimate:
    """Mean of the first values less that of the second, with a 95% interval from drawing images anew.

    An image in both is drawn for both at once.
    """
    images, where = np.unique([*first_images, *second_images], return_inverse=True)
    parts = np.split(where, [len(first_images)])
    draws = np.random.default_rng(seed).multinomial(
        len(images), np.full(len(images), 1 / len(images)), size=NUM_DRAWS
    )
    means = []
    for values, place in zip((first, second), parts, strict=True):
        sums = np.bincount(place, values, minlength=len(images))
        counts = np.bincount(place, minlength=len(images))
        total = draws @ counts
        means.append(
            np.divide(draws @ sums, total, out=np.full(NUM_DRAWS, np.nan), where=total > 0)
        )
    low, high = np.nanquantile(means[0] - means[1], (0.025, 0.975))
    return Estimate(float(np.mean(first) - np.mean(second)), float(low), float(high))


def _scored(run: Run) -> set[object]:
    """What has been scored, told by what is the same in every run."""
    tallies = {(one.dataset, one.condition, one.image) for one in run.tallies}
    return {*tallies, *(score.key for score in run.scores)}


def _benchmark_lines(runs: Sequence[Run], dataset: str, seed: int) -> list[Line]:
    """The numbers of a dataset that are no means over images; none where the task has no such."""
    tallied = [one for run in runs for one in run.tallies if one.dataset == dataset]
    lines = []
    for condition in dict.fromkeys(one.condition for one in tallied):
        rows = [
            _benchmark_cells(run, runs[0] if number else None, dataset, condition, seed)
            for number, run in enumerate(runs)
        ]
        measures = BENCHMARKS[runs[0].task].measures
        lines += [
            Line(dataset, named(measure, condition), cells)
            for measure, cells in zip(measures, zip(*rows, strict=True), strict=True)
        ]
    return lines


def _benchmark_cells(
    run: Run, reference: Run | None, dataset: str, condition: str, seed: int
) -> tuple[Cell, ...]:
    """A cell for each measure."""
    benchmark = BENCHMARKS[run.task]
    own = _tallies(run, dataset, condition)
    if not own:
        nothing = Estimate(math.nan, math.nan, math.nan)
        return tuple(Cell(run.label, 0, nothing, None) for _ in benchmark.measures)
    means = benchmark.estimate([one.counts for one in own.values()], seed)
    gains: Sequence[Estimate | None] = [None] * len(means)
    if reference is not None:
        other = _tallies(reference, dataset, condition)
        if common := sorted(own.keys() & other.keys()):
            first, second = ([one[image].counts for image in common] for one in (own, other))
            gains = benchmark.estimate_gains(first, second, seed)
    return tuple(
        Cell(run.label, len(own), mean, gain) for mean, gain in zip(means, gains, strict=True)
    )


def _tallies(run: Run, dataset: str, condition: str) -> dict[str, Tally]:
    """By their images."""
    return {
        one.image: one
        for one in run.tallies
        if (one.dataset, one.condition) == (dataset, condition)
    }


def _cell(run: Run, reference: Run | None, dataset: str, measure: str, seed: int) -> Cell:
    scores = _having(run, dataset, measure)
    mean = bootstrap_mean(_column(scores, measure), [score.image for score in scores], seed)
    difference = None
    if reference is not None and (pairs := _pairs(run, reference, dataset, measure)):
        gains, images = zip(*pairs, strict=True)
        difference = bootstrap_mean(gains, images, seed)
    return Cell(run.label, len(scores), mean, difference)


def _mean_lines(
    runs: Sequence[Run], datasets: Sequence[str], measures: Sequence[str], seed: int
) -> list[Line]:
    """Every measure as the mean over the datasets that all runs have scored; none where there are fewer than two."""
    lines = []
    for measure in measures:
        known = [one for one in datasets if all(_having(run, one, measure) for run in runs)]
        if len(known) > 1:
            cells = tuple(
                _mean_cell(run, runs[0] if number else None, known, measure, seed)
                for number, run in enumerate(runs)
            )
            lines.append(Line(f"mean of {len(known)} sets", measure, cells))
    return lines


def _mean_cell(
    run: Run, reference: Run | None, datasets: Sequence[str], measure: str, seed: int
) -> Cell:
    scores = [_having(run, dataset, measure) for dataset in datasets]
    columns = [(_column(some, measure), [one.image for one in some]) for some in scores]
    mean = bootstrap_mean_of_sets(columns, seed)
    num_scores = sum(map(len, scores))
    difference = None
    if reference is not None:
        pairs = [_pairs(run, reference, dataset, measure) for dataset in datasets]
        # A set without a common mask would make the difference one of other sets than the mean.
        if all(pairs):
            gains = [([gain for gain, _ in some], [image for _, image in some]) for some in pairs]
            difference = bootstrap_mean_of_sets(gains, seed)
    return Cell(run.label, num_scores, mean, difference)


def _pairs(run: Run, reference: Run, dataset: str, measure: str) -> list[tuple[float, str]]:
    """What each score is more than the reference's of the same thing, and its image."""
    known = {score.key: score for score in _having(reference, dataset, measure)}
    return [
        (score.values[measure] - known[score.key].values[measure], score.image)
        for score in _having(run, dataset, measure)
        if score.key in known
    ]


def _grouping(
    run: Run,
    dataset: str,
    measure: str,
    members: dict[str, list[RunScore]],
    num_left_out: int,
    seed: int,
) -> Grouping:
    columns = {
        name: (_column(scores, measure), [score.image for score in scores])
        for name, scores in sorted(members.items())
    }
    groups = tuple(
        Group(name, len(values), len(set(images)), bootstrap_mean(values, images, seed))
        for name, (values, images) in columns.items()
    )
    differences = tuple(
        GroupDifference(
            first, second, bootstrap_difference(*columns[first], *columns[second], seed)
        )
        for first, second in combinations(
            [group.name for group in groups if group.num_images >= FEWEST_IMAGES], 2
        )
    )
    return Grouping(run.label, dataset, measure, groups, differences, num_left_out)


def _having(run: Run, dataset: str, measure: str) -> list[RunScore]:
    return [one for one in run.scores if one.dataset == dataset and measure in one.values]


def _column(scores: Sequence[RunScore], measure: str) -> FloatColumn:
    return np.array([score.values[measure] for score in scores], dtype=np.float64)
