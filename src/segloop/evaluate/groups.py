"""Groups to split a run's numbers into (paper §6), and the numbers of whole sets, ODS of edges or AP of instances, by them.

For those the counts of a group's images are added up; of instances each category's apart, so that categories can be groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from segloop.evaluate.average_precision import NO_CATEGORY, ImageOutcomes
from segloop.evaluate.benchmarks import BENCHMARKS, Benchmark, FloatTable, estimate_columns
from segloop.evaluate.metrics import Estimate
from segloop.evaluate.runs import Run, RunScore, Tally, named

FEWEST_IMAGES = 5
"""Of a group, for it to be compared with another: drawing fewer anew says nothing of chance."""
GroupOf = Callable[[RunScore], str | None]


@dataclass(frozen=True)
class Group:
    """The mean of one group."""

    name: str
    num_scores: int
    num_images: int
    mean: Estimate


@dataclass(frozen=True)
class GroupDifference:
    """How much more the first group has than the second."""

    first: str
    second: str
    difference: Estimate

    @property
    def exceeds_chance(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.difference.low > 0 or self.difference.high < 0


@dataclass(frozen=True)
class Grouping:
    """One measure of one run, split into groups; num_left_out: scores that belong to none."""

    run: str
    dataset: str
    measure: str
    groups: tuple[Group, ...]
    differences: tuple[GroupDifference, ...]
    num_left_out: int


def group_tallies(run: Run, group_of: GroupOf, seed: int = 0) -> tuple[Grouping, ...]:
    """Split the numbers of whole sets; none where the task has no such, or no image or category belongs to a group."""
    found: list[Grouping] = []
    for dataset, condition in dict.fromkeys((one.dataset, one.condition) for one in run.tallies):
        members: dict[str, dict[str, Any]] = {}
        num_left_out = 0
        for tally in run.tallies:
            if (tally.dataset, tally.condition) != (dataset, condition):
                continue
            is_left_out = True
            for category, counts in _by_category(tally.counts):
                name = group_of(_asked(tally, category))
                if name is not None:
                    own = members.setdefault(name, {})
                    own[tally.image] = _joined(own.get(tally.image), counts)
                    is_left_out = False
            num_left_out += is_left_out
        if members:
            found += _groupings(run, dataset, condition, members, num_left_out, seed)
    return tuple(found)


def _asked(tally: Tally, category: str | None) -> RunScore:
    """What is told of an image to have its group: nothing of a single object."""
    return RunScore((), tally.dataset, tally.image, {}, category, None, None)


def _by_category(counts: Any) -> Iterator[tuple[str | None, Any]]:
    """The counts of each category, where categories are counted apart."""
    if not isinstance(counts, ImageOutcomes):
        yield None, counts
        return
    names = {one.category for one in counts.masks} | {one.category for one in counts.truths}
    for name in sorted(names) or [NO_CATEGORY]:
        own = ImageOutcomes(
            tuple(one for one in counts.masks if one.category == name),
            tuple(one for one in counts.truths if one.category == name),
        )
        yield (None if name == NO_CATEGORY else name), own


def _joined(first: Any, second: Any) -> Any:
    """The counts of two categories of one image."""
    if first is None:
        return second
    return replace(first, masks=first.masks + second.masks, truths=first.truths + second.truths)


def _groupings(
    run: Run,
    dataset: str,
    condition: str,
    members: Mapping[str, Mapping[str, Any]],
    num_left_out: int,
    seed: int,
) -> list[Grouping]:
    """One for each number of the benchmark."""
    benchmark = BENCHMARKS[run.task]
    names = sorted(members)
    tables = _draw(benchmark, [members[name] for name in names], seed)
    means = [estimate_columns(table[:1], table[1:]) for table in tables]
    large = [place for place, name in enumerate(names) if len(members[name]) >= FEWEST_IMAGES]
    gains = {
        (first, second): estimate_columns(gain[:1], gain[1:])
        for first, second in combinations(large, 2)
        for gain in (tables[first] - tables[second],)
    }
    return [
        Grouping(
            run.label,
            dataset,
            named(measure, condition),
            tuple(
                Group(name, len(members[name]), len(members[name]), mean[column])
                for name, mean in zip(names, means, strict=True)
            ),
            tuple(
                GroupDifference(names[first], names[second], gain[column])
                for (first, second), gain in gains.items()
            ),
            num_left_out,
        )
        for column, measure in enumerate(benchmark.measures)
    ]


def _draw(
    benchmark: Benchmark[Any], groups: Sequence[Mapping[str, Any]], seed: int
) -> list[FloatTable]:
    """The numbers of each group (1 + draws, measures), first as they are; an image of two is drawn for both at once."""
    images = sorted({image for group in groups for image in group})
    places = {image: place for place, image in enumerate(images)}
    share = np.full(len(images), 1 / len(images))
    draws = np.random.default_rng(seed).multinomial(len(images), share, size=benchmark.num_draws)
    draws = np.concatenate([np.ones((1, len(images)), dtype=draws.dtype), draws])
    return [
        benchmark.draw(list(group.values()), draws[:, [places[image] for image in group]])
        for group in groups
    ]
