from __future__ import annotations

import errno
import os
import signal

import pytest
import torch
import typer

from segloop.cli.console import (
    CommandError,
    interrupts_held,
    one_line_errors,
    progress_bar,
    require,
    say,
)
from segloop.errors import ImageError, InputError


def stop(error: BaseException) -> int:
    """Exit code of a command that raises `error`."""

    @one_line_errors
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as stopped:
        command()
    return stopped.value.exit_code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("no prompt"), 2, "segloop: error: no prompt"),
        (ImageError("a.jpg: no\nsuch file"), 2, "segloop: error: a.jpg: no such file"),
        (CommandError("cannot write x"), 1, "segloop: error: cannot write x"),
        (MemoryError(), 1, "segloop: error: not enough memory"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n2.00 GiB."),
            1,
            "segloop: error: not enough memory on the device: lower --batch-size or --jobs, or use --device cpu",
        ),
        (KeyboardInterrupt(), 130, "segloop: error: interrupted"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            1,
            "segloop: error: cannot write the output: No space left on device",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "secret"),
            1,
            "segloop: error: secret: Permission denied",
        ),
    ],
)
def test_every_error_is_one_line_and_a_code(
    capfd: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    saved = os.dup(1)
    try:
        assert stop(error) == code
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    captured = capfd.readouterr()
    assert captured.err == line + "\n"
    assert captured.out == ""


def test_a_closed_pipe_is_no_error_to_speak_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert stop(BrokenPipeError(errno.EPIPE, "Broken pipe")) == 1
    assert capsys.readouterr().err == ""


def test_our_own_bugs_are_not_hidden() -> None:
    @one_line_errors
    def command() -> None:
        raise AssertionError("a bug")

    with pytest.raises(AssertionError, match="a bug"):
        command()


def test_a_command_keeps_its_signature_and_result() -> None:
    @one_line_errors
    def double(number: int) -> int:
        """Twice the number."""
        return 2 * number

    assert double(4) == 8
    assert double.__doc__ == "Twice the number."
    assert double.__name__ == "double"


def test_lines_are_plain_off_a_terminal_and_never_broken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = "[bold]x[/bold] " + 60 * "word "
    say(message, style="red")
    assert capsys.readouterr().err == message + "\n"


def test_colors_need_a_terminal_without_no_color(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    say("wrong", style="red")
    assert "\x1b[" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    say("wrong", style="red")
    assert capsys.readouterr().err == "wrong\n"


def test_a_missing_package_is_named_with_its_extra() -> None:
    require("json", "torch")
    with pytest.raises(InputError, match=r'pip install "segloop\[cluster\]"'):
        require("a_package_that_is_not_there", "cluster")


def test_progress_is_silent_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("working") as bar:
        bar.update(1, 3, "[note]")
        bar.update(3, 3)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_an_interrupt_waits_for_the_steps_that_belong_together() -> None:
    steps = []

    def work() -> None:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            steps.append("first")
            steps.append("second")
        steps.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["first", "second"]
    with interrupts_held():
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_long_run_without_terminal_writes_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar("working", log_seconds=0.0) as bar:
        bar.update(0, 4, "nothing yet")
        bar.update(1.5, 4, "9 masks")
        bar.update(2, None, "some")
    with progress_bar("quiet", log_seconds=3600.0) as bar:
        bar.update(1, 4)
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "working: 0 of 4 in 0:00:00, ? left, nothing yet"
    assert second == "working: 1 of 4 in 0:00:00, 0:00:00 left, 9 masks"
    assert third == "working: 2 in 0:00:00, some"
