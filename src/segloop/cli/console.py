"""What all commands share with the terminal: one-line errors, exit codes, progress.

Exit codes: 0 done; 1 something failed on the way (a full disk, images of a batch); 2 what was asked cannot be done as it
stands; 130 interrupted. Results go to standard output; everything here goes to standard error. Colours follow NO_COLOR.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer

from segloop.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130
LOG_SECONDS = 60.0
"""How often a long run says where it is, where there is no terminal."""

P = ParamSpec("P")
R = TypeVar("R")


class CommandError(Exception):
    """A command that could not be finished, by no fault of what it was given; the message is one line."""


def one_line_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command so that whatever a user or the machine can cause ends in one line and an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = command(*args, **kwargs)
            sys.stdout.flush()
        except InputError as error:
            raise _stop(str(error), UNUSABLE) from error
        except CommandError as error:
            raise _stop(str(error), FAILED) from error
        except KeyboardInterrupt as error:
            raise _stop("interrupted", INTERRUPTED) from error
        except BrokenPipeError as error:  # the reader has seen enough, as `head` does
            _discard_output()
            raise typer.Exit(FAILED) from error
        except OSError as error:
            _discard_output()
            raise _stop(reason_of(error), FAILED) from error
        except MemoryError as error:
            raise _stop("not enough memory", FAILED) from error
        except RuntimeError as error:
            # PyTorch's own class for it cannot be named without loading PyTorch.
            if "out of memory" not in str(error):
                raise
            advice = "lower --batch-size or --jobs, or use --device cpu"
            raise _stop(f"not enough memory on the device: {advice}", FAILED) from error
        return result

    return run


def open_missing_streams() -> None:
    """Put the null device where a standard stream was closed, or its number would go to the next file opened.

    Standard input stays None: there is nothing to read from it.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            if name != "stdin":
                stream = os.fdopen(number, "w", encoding="utf-8", closefd=False)
                setattr(sys, name, stream)


def reason_of(error: OSError) -> str:
    """What the system refused, and for which file."""
    place = f"{error.filename}: " if error.filename else "cannot write the output: "
    return f"{place}{error.strerror or error}"


def say(message: str, *, style: str = "") -> None:
    """Write a line to standard error, coloured on a terminal."""
    _console().print(message, style=style or None, markup=False, highlight=False, soft_wrap=True)


def write_results(lines: Sequence[str]) -> None:
    """Write lines to standard output, all at once."""
    sys.stdout.write("".join(line + "\n" for line in lines))
    sys.stdout.flush()


def require(module: str, extra: str) -> None:
    """InputError unless an optional package is installed."""
    if importlib.util.find_spec(module) is None:
        raise InputError(f'this command needs {module}: pip install "segloop[{extra}]"')


class ProgressBar:
    """A bar on standard error; on anything but a terminal it shows nothing, or a line now and then."""

    def __init__(self, progress: Progress, title: str, log_seconds: float | None) -> None:
        self._progress = progress
        self._title = title
        self._task: TaskID = progress.add_task(title, total=None, note="")
        self._log_seconds = log_seconds if progress.disable else None
        self._started = self._logged = time.monotonic()

    def update(self, done: float, total: float | None, note: str = "") -> None:
        """Show `done` of `total` and a few words."""
        self._progress.update(self._task, completed=done, total=total, note=note)
        now = time.monotonic()
        if self._log_seconds is not None and now - self._logged >= self._log_seconds:
            self._logged = now
            say(f"{self._title}: {_standing(done, total, now - self._started)}, {note}")

    def write(self, lines: Sequence[str]) -> None:
        """Write results to standard output, with the bar out of the way where that is a terminal too."""
        hides = not self._progress.disable and sys.stdout.isatty()
        if hides:
            self._progress.stop()
        write_results(lines)
        if hides:
            self._progress.start()


@contextmanager
def progress_bar(title: str, *, log_seconds: float | None = None) -> Iterator[ProgressBar]:
    """A progress bar with the time left, gone when the work is done. It leaves standard output alone.

    log_seconds: how often to write a line where there is no terminal; never by default.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = _console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    hidden = not console.is_terminal
    with (
        Progress(
            *columns,
            console=console,
            redirect_stdout=False,  # it would send results to standard error, broken to the width of the terminal
            transient=True,
            disable=hidden,
            speed_estimate_period=300,
        ) as progress
    ):
        yield ProgressBar(progress, title, log_seconds)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let a few steps come to their end before Ctrl-C takes effect."""
    held: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            raise KeyboardInterrupt


def _standing(done: float, total: float | None, seconds: float) -> str:
    gone = timedelta(seconds=round(seconds))
    if total is None:
        return f"{int(done)} in {gone}"
    left = timedelta(seconds=round(seconds / done * (total - done))) if done else "?"
    return f"{int(done)} of {int(total)} in {gone}, {left} left"


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _stop(message: str, code: int) -> typer.Exit:
    say(f"segloop: error: {' '.join(message.split())}", style="" if code == INTERRUPTED else "red")
    return typer.Exit(code)


def _discard_output() -> None:
    """Send what is still buffered nowhere, or Python complains of it again at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
