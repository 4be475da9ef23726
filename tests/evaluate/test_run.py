from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segloop.errors import InputError
from segloop.evaluate.run import Journal, ModelTask, score_images

# Another process can only open what it can import: the task is a module of its own.
MODULE = '''
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from segloop.data.sample import Sample
from segloop.errors import InputError

@dataclass(frozen=True)
class Part:
    size: float | None
    ious: tuple[float, ...]

@dataclass(frozen=True)
class Squared:
    index: int
    process: int
    parts: tuple[Part, ...]

@dataclass(frozen=True)
class Squares:
    """Writes a file for every image it scores; some images cannot be scored."""
    folder: Path
    bad: int = -1
    fatal: int = -1
    bad_start: bool = False

    def start(self):
        if self.bad_start:
            raise InputError("no such model")
        return self.score

    def score(self, index):
        if index == self.bad:
            raise InputError(f"image {index} is broken")
        if index == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        (self.folder / f"{index}-{os.getpid()}-{time.monotonic_ns()}").touch()
        return Squared(index, os.getpid(), (Part(None, (float(index**2), float("nan"))), Part(0.1, ())))

@dataclass(frozen=True)
class Blank:
    """A dataset of images of one colour."""

    def __len__(self):
        return 5

    def read(self, index):
        return Sample(f"{index}", np.full((2, 2, 3), index, dtype=np.uint8), ())

@dataclass(frozen=True)
class Number:
    value: int

def brightness(model, sample):
    return Number(model + int(sample.image.max()))
'''


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "scoring_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("scoring_tasks")
    del sys.modules["scoring_tasks"]


def scored(folder: Path) -> list[int]:
    """The images that were scored, once or more."""
    return sorted(int(path.name.split("-")[0]) for path in folder.iterdir())


@pytest.fixture
def squares(tasks: Any, tmp_path: Path) -> Any:
    folder = tmp_path / "scored"
    folder.mkdir()
    return tasks.Squares(folder)


def test_scores_come_in_the_order_asked_for(squares: Any, tasks: Any) -> None:
    seen: list[tuple[float, float]] = []
    scores = score_images(
        squares, [3, 1, 2], tasks.Squared, progress=lambda done, total: seen.append((done, total))
    )
    assert [score.index for score in scores] == [3, 1, 2]
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_processes_share_the_work_and_change_nothing(squares: Any, tasks: Any) -> None:
    scores = score_images(squares, range(6), tasks.Squared, jobs=2)
    assert [score.index for score in scores] == list(range(6))
    assert [score.parts[0].ious[0] for score in scores] == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in {score.process for score in scores}
    assert len({score.process for score in scores}) <= 2


def test_a_journal_gives_back_exactly_what_was_scored(
    squares: Any, tasks: Any, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "out" / "squares.jsonl", {"model": "a", "clicks": (1, 2)})
    first = score_images(squares, [0, 1], tasks.Squared, journal=journal)
    seen: list[tuple[float, float]] = []
    again = score_images(
        squares,
        [0, 1, 2],
        tasks.Squared,
        journal=journal,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert scored(squares.folder) == [0, 1, 2]
    assert seen == [(2, 3), (3, 3)]
    assert repr(again[:2]) == repr(first)
    assert type(again[0].parts[0]) is tasks.Part
    assert np.isnan(again[0].parts[0].ious[1])


def test_a_journal_of_other_settings_is_left_alone(
    squares: Any, tasks: Any, tmp_path: Path
) -> None:
    path = tmp_path / "squares.jsonl"
    score_images(squares, [0], tasks.Squared, journal=Journal(path, {"model": "a", "grid": 16}))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"made with model a \(now b\): name another folder"):
        score_images(squares, [1], tasks.Squared, journal=Journal(path, {"model": "b", "grid": 16}))
    assert path.read_bytes() == before


def test_a_file_that_is_no_journal_is_left_alone(squares: Any, tasks: Any, tmp_path: Path) -> None:
    path = tmp_path / "squares.jsonl"
    path.write_text("1,2,3\n")
    with pytest.raises(InputError, match="not the journal of an evaluation"):
        score_images(squares, [1], tasks.Squared, journal=Journal(path, {}))
    path.write_text('{"settings": {}}\n{"index": 0, "score": {"index": 0}}\n')
    with pytest.raises(InputError, match=r"line 2, is not a score"):
        score_images(squares, [1], tasks.Squared, journal=Journal(path, {}))


def test_another_run_in_the_folder_is_refused(squares: Any, tasks: Any, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out" / "squares.jsonl", {})

    def during(done: float, total: float) -> None:
        with pytest.raises(InputError, match="another run is writing to"):
            score_images(squares, [5], tasks.Squared, journal=journal)

    score_images(squares, [0], tasks.Squared, journal=journal, progress=during)
    assert scored(squares.folder) == [0]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_image_that_fails_ends_the_run_and_what_is_done_stays(
    squares: Any, tasks: Any, tmp_path: Path, jobs: int
) -> None:
    journal = Journal(tmp_path / "out" / "squares.jsonl", {})
    broken = tasks.Squares(squares.folder, bad=2)
    with pytest.raises(InputError, match="image 2 is broken"):
        score_images(broken, [0, 1, 2], tasks.Squared, jobs=jobs, journal=journal)
    noted = journal.path.read_text().splitlines()[1:]
    assert len(noted) >= 1 if jobs == 2 else len(noted) == 2
    scores = score_images(squares, [0, 1, 2], tasks.Squared, journal=journal)
    assert [score.index for score in scores] == [0, 1, 2]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_task_that_cannot_start_says_why(squares: Any, tasks: Any, jobs: int) -> None:
    with pytest.raises(InputError, match="no such model"):
        score_images(
            tasks.Squares(squares.folder, bad_start=True), [0, 1], tasks.Squared, jobs=jobs
        )
    with pytest.raises(InputError, match="at least 1, got 0"):
        score_images(squares, [0], tasks.Squared, jobs=0)


KILLED = """
import sys, time
from pathlib import Path
from segloop.evaluate.run import Journal, score_images
sys.path.insert(0, sys.argv[1])
from scoring_tasks import Squared

class Slow:
    def start(self):
        return self.score
    def score(self, index):
        if index == 3:
            print("three", flush=True)
            time.sleep(60)
        return Squared(index, 0, ())

score_images(Slow(), range(6), Squared, journal=Journal(Path(sys.argv[1]) / "journal.jsonl", {}))
"""


def test_a_killed_run_goes_on_where_it_was(squares: Any, tasks: Any, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "three\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    journal = Journal(tmp_path / "journal.jsonl", {})
    assert [json.loads(line)["index"] for line in journal.path.read_text().splitlines()[1:]] == [
        0,
        1,
        2,
    ]
    scores = score_images(squares, range(6), tasks.Squared, journal=journal)
    assert [score.process != 0 for score in scores] == [False, False, False, True, True, True]
    assert scored(squares.folder) == [3, 4, 5]


def test_a_process_that_is_killed_is_one_line(squares: Any, tasks: Any, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", {})
    fatal = dataclasses.replace(squares, fatal=5)
    with pytest.raises(InputError, match=r"one of 2 processes was killed.* lower --jobs") as caught:
        score_images(fatal, range(6), tasks.Squared, jobs=2, journal=journal)
    assert "\n" not in str(caught.value)
    scores = score_images(squares, range(6), tasks.Squared, journal=journal)
    assert [score.index for score in scores] == list(range(6))


def test_the_usual_task_joins_a_model_and_a_dataset(tasks: Any) -> None:
    task = ModelTask(partial(int, "100"), tasks.Blank(), tasks.brightness)
    assert score_images(task, [1, 4], tasks.Number) == [tasks.Number(101), tasks.Number(104)]
    assert score_images(task, [1, 4], tasks.Number, jobs=2) == [
        tasks.Number(101),
        tasks.Number(104),
    ]
