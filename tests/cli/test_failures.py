from __future__ import annotations

import pytest
import typer

from segloop.cli.console import CommandError
from segloop.cli.failures import Failure, noting_failures, tell_failures
from segloop.errors import InputError, shorten


def test_a_failure_is_one_line_that_names_its_image_once() -> None:
    assert str(Failure("a.jpg", "a.jpg: no such file")) == "a.jpg: no such file"
    assert str(Failure("list, line 2", "not\nJSON")) == "list, line 2: not JSON"


def test_a_long_name_is_shortened_and_still_named_once() -> None:
    name = 5000 * "x"
    assert len(str(Failure(name, f"{shorten(name)} cannot be read"))) < 150
    assert len(str(Failure(name, "broken"))) < 150


def test_bad_input_and_lack_of_memory_are_noted_and_mistakes_of_ours_are_not() -> None:
    failures: list[Failure] = []
    with noting_failures(failures, "a.jpg"):
        raise InputError("truncated")
    with noting_failures(failures, "b.jpg"):
        raise MemoryError
    with noting_failures(failures, "c.jpg"):
        pass
    assert failures == [
        Failure("a.jpg", "truncated"),
        Failure("b.jpg", "not enough memory for it"),
    ]
    with pytest.raises(ZeroDivisionError), noting_failures(failures, "d.jpg"):
        raise ZeroDivisionError
    assert len(failures) == 2


def test_what_the_machine_refuses_is_noted_where_that_is_wanted() -> None:
    failures: list[Failure] = []
    for error in (CommandError("cannot write a.png"), OSError(28, "No space left on device")):
        with noting_failures(failures, "a.jpg", of_machine=True):
            raise error
        with pytest.raises(type(error)), noting_failures(failures, "a.jpg"):
            raise error
    assert [failure.why for failure in failures] == [
        "cannot write a.png",
        "cannot write the output: No space left on device",
    ]


def test_nothing_is_told_where_nothing_failed(capsys: pytest.CaptureFixture[str]) -> None:
    tell_failures([])
    assert capsys.readouterr().err == ""


def test_the_first_fifty_are_listed_and_the_rest_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as caught:
        tell_failures([Failure(f"{n}.jpg", "broken") for n in range(53)], "; try again")
    assert caught.value.exit_code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "segloop: failed: 0.jpg: broken"
    assert lines[49] == "segloop: failed: 49.jpg: broken"
    assert lines[50] == "segloop: 53 images failed (3 more than are listed); try again"
    assert len(lines) == 51
