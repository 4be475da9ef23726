"""Scores images one by one, in as many processes as wanted, each noted on the disk: a run that dies goes on where it was.

A task is a value that can be sent to another process; started there, it opens model and data and scores images by their
numbers. What it makes of an image is a frozen dataclass of plain numbers, which the journal keeps as a line of JSON.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from segloop.data.journal import append_line, read_lines, sole_use
from segloop.errors import InputError
from segloop.evaluate.truth import Progress

Score = TypeVar("Score")
ScoreOut = TypeVar("ScoreOut", covariant=True)
Model = TypeVar("Model")
Item = TypeVar("Item")
ItemOut = TypeVar("ItemOut", covariant=True)


class Task(Protocol[ScoreOut]):
    """What is done to every image."""

    def start(self) -> Callable[[int], ScoreOut]:
        """Open what is needed, in the process that works; the answer scores the image of a number."""
        ...


class Source(Protocol[ItemOut]):
    """What can be read image by image."""

    def read(self, index: int) -> ItemOut:
        """The image of a number, with its truth."""
        ...


@dataclass(frozen=True)
class ModelTask(Generic[Model, Item, Score]):
    """The usual task: a model, a dataset, and a function of both that scores one image."""

    load: Callable[[], Model]
    dataset: Source[Item]
    score: Callable[[Model, Item], Score]

    def start(self) -> Callable[[int], Score]:
        """Load the model."""
        model = self.load()
        return lambda index: self.score(model, self.dataset.read(index))


@dataclass(frozen=True)
class Journal:
    """Where the scores of a run are noted, and what they were made with: only the same settings go on from them."""

    path: Path
    settings: Mapping[str, Any]


def score_images(
    task: Task[Score],
    indices: Sequence[int],
    score_type: type[Score],
    *,
    jobs: int = 1,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[Score]:
    """The scores of the images of these numbers, in their order.

    jobs: processes; 1 works in this one. Scores that the journal has are taken from it. progress is called with the
    images done and the images in all. Raises InputError for a journal of other settings or one that another run is
    writing, or where a process is killed, and whatever scoring an image raises; what was scored before is noted by then.
    """
    if jobs < 1:
        raise InputError(f"jobs is the number of processes and must be at least 1, got {jobs}")
    with _open(journal, score_type) as notes:
        waiting = [index for index in dict.fromkeys(indices) if index not in notes.scores]
        done = len(indices) - len(waiting)
        if progress is not None:
            progress(done, len(indices))
        work = _score_here(task, waiting) if jobs == 1 else _score_in_processes(task, waiting, jobs)
        for index, score in work:
            notes.add(index, score)
            done += 1
            if progress is not None:
                progress(done, len(indices))
        return [notes.scores[index] for index in indices]


class _Notes(Generic[Score]):
    """The scores so far, in memory and on the disk."""

    def __init__(self, path: Path | None, scores: dict[int, Score]) -> None:
        self._path = path
        self.scores = scores

    def add(self, index: int, score: Score) -> None:
        self.scores[index] = score
        if self._path is None:
            return
        assert is_dataclass(score)
        assert not isinstance(score, type)
        _append(self._path, {"index": index, "score": asdict(score)})


@contextmanager
def _open(journal: Journal | None, score_type: type[Score]) -> Iterator[_Notes[Score]]:
    if journal is None:
        yield _Notes(None, {})
        return
    path, settings = journal.path, json.loads(json.dumps(dict(journal.settings)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    with sole_use(path.parent):
        lines = read_lines(path)
        if lines:
            _check_settings(path, lines[0], settings)
            scores = dict(_noted(path, lines[1:], TypeAdapter(score_type)))
        else:
            _append(path, {"settings": settings})
            scores = {}
        yield _Notes(path, scores)


def _check_settings(path: Path, line: bytes, settings: Mapping[str, Any]) -> None:
    try:
        earlier = json.loads(line)["settings"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not the journal of an evaluation: name another folder"
        ) from error
    changed = [
        f"{name} {earlier.get(name)} (now {settings.get(name)})"
        for name in sorted({*earlier, *settings})
        if earlier.get(name) != settings.get(name)
    ]
    if changed:
        raise InputError(
            f"{path} was made with {', '.join(changed)}: name another folder, or delete it"
        )


def _noted(
    path: Path, lines: Sequence[bytes], adapter: TypeAdapter[Score]
) -> Iterator[tuple[int, Score]]:
    count = 0
    try:
        for line in lines:
            record = json.loads(line)
            yield int(record["index"]), adapter.validate_python(record["score"])
            count += 1
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise InputError(
            f"{path}, line {count + 2}, is not a score of this evaluation: delete the file"
        ) from error


def _append(path: Path, record: Mapping[str, Any]) -> None:
    try:
        append_line(path, json.dumps(record, separators=(",", ":")).encode())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _score_here(task: Task[Score], indices: Sequence[int]) -> Iterator[tuple[int, Score]]:
    if indices:
        score = task.start()
        for index in indices:
            yield index, score(index)


class _Worker:
    """The task of a child process, started with its first image, so that what goes wrong reaches the parent."""

    task: Task[Any]
    score: Callable[[int], Any] | None = None


def _receive(task: Task[Any]) -> None:
    _Worker.task = task


def _score(index: int) -> Any:
    if _Worker.score is None:
        _Worker.score = staticmethod(_Worker.task.start())
    return _Worker.score(index)


def _score_in_processes(
    task: Task[Score], indices: Sequence[int], jobs: int
) -> Iterator[tuple[int, Score]]:
    # Not by fork: threads of the runtimes that a parent has started would be missing in the child.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, max(1, len(indices))), context, _receive, (task,))
    try:
        waiting: dict[Future[Any], int] = {pool.submit(_score, index): index for index in indices}
        while waiting:
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            # Those that failed come last: what was scored beside them is not lost.
            for future in sorted(finished, key=lambda one: one.exception() is not None):
                yield waiting.pop(future), future.result()
    except BrokenProcessPool as error:
        raise InputError(
            f"one of {jobs} processes was killed, perhaps for want of memory: lower --jobs"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
