"""From numbered items to the batches of each step, for one process of many.

Item i is the same whoever asks for it and whenever; so a run resumes exactly, workers need no state, and the items of a
step do not depend on how many processes share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from segloop.errors import InputError
from segloop.train.config import RunConfig
from segloop.train.step import TrainBatch

ItemT = TypeVar("ItemT")
BatchT = TypeVar("BatchT", bound=TrainBatch)
BatchT_co = TypeVar("BatchT_co", bound=TrainBatch, covariant=True)

_ATTEMPTS = 20
# No run comes so far, so what stands in for an item is none of the run's own draws.
_APART = 2**40


class ItemSource(Protocol[ItemT, BatchT_co]):
    """What a run draws from; goes to the loader's workers, so it must pickle."""

    def item(self, number: int) -> ItemT:
        """Item `number`, which depends on nothing but the source's seed and the number; InputError where it is of no use."""

    def collate(self, items: Sequence[ItemT]) -> BatchT_co:
        """Put items side by side."""


@dataclass(frozen=True)
class Share:
    """Which of the processes of a run this is."""

    rank: int = 0
    num_processes: int = 1


@dataclass(frozen=True)
class _Drawn(Generic[ItemT]):
    """An item, or None where there is none; and a line for each that could not be used before it."""

    item: ItemT | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Collated(Generic[BatchT]):
    batch: BatchT | None
    problems: tuple[str, ...]


class _Items(Dataset[Any], Generic[ItemT, BatchT]):
    """An ItemSource as PyTorch wants it, another item standing in for one that cannot be used.

    What is wrong with the data comes back as a value: raised in a worker it would arrive wrapped in a traceback.
    """

    def __init__(self, source: ItemSource[ItemT, BatchT]) -> None:
        self._source = source

    def __getitem__(self, number: int) -> _Drawn[ItemT]:
        problems: list[str] = []
        for attempt in range(_ATTEMPTS):
            item = self._draw(number + attempt * _APART, problems)
            if item is not None:
                return _Drawn(item, tuple(problems))
        return _Drawn(None, tuple(problems))

    def _draw(self, number: int, problems: list[str]) -> ItemT | None:
        try:
            return self._source.item(number)
        except InputError as error:
            problems.append(str(error))
            return None

    def collate(self, drawn: Sequence[_Drawn[ItemT]]) -> _Collated[BatchT]:
        items = [one.item for one in drawn if one.item is not None]
        problems = tuple(line for one in drawn for line in one.problems)
        return _Collated(
            self._source.collate(items) if len(items) == len(drawn) else None, problems
        )


class _Numbers(Sampler[list[int]]):
    """The numbers of the items of each batch, one list a batch."""

    def __init__(self, config: RunConfig, first_step: int, share: Share) -> None:
        self._size = config.data.batch_size
        self._batches = range(first_step * config.accumulate, config.num_steps * config.accumulate)
        self._share = share

    def __iter__(self) -> Iterator[list[int]]:
        for number in self._batches:
            first = (number * self._share.num_processes + self._share.rank) * self._size
            yield list(range(first, first + self._size))

    def __len__(self) -> int:
        return len(self._batches)


def batches(
    source: ItemSource[ItemT, BatchT],
    config: RunConfig,
    first_step: int = 0,
    share: Share = Share(),
    on_skip: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[BatchT, ...]]:
    """For each step from first_step on this process's config.accumulate batches.

    Step k of the run holds the same items however often it was resumed. Another item stands in for one that cannot be used,
    such as a damaged image; on_skip is told what is wrong with it. Raises InputError where nothing usable is found for long.
    """
    items = _Items(source)
    loader: DataLoader[Any] = DataLoader(
        items,
        batch_sampler=_Numbers(config, first_step, share),
        num_workers=config.data.num_workers,
        collate_fn=items.collate,
        # Its own generator: a resumed run makes a second loader, which must not draw from the model's random numbers.
        generator=torch.Generator(),
    )
    parts: list[BatchT] = []
    for collated in loader:
        for problem in collated.problems:
            on_skip(problem)
        if collated.batch is None:
            raise InputError(f"{_ATTEMPTS} items in a row cannot be used: {collated.problems[-1]}")
        parts.append(collated.batch)
        if len(parts) == config.accumulate:
            yield tuple(parts)
            parts = []
