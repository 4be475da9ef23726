from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import pytest
import typer

from segloop.cli import options
from segloop.cli.evaluate.points import evaluate_points
from segloop.cli.everything import everything
from segloop.cli.export import export
from segloop.cli.options import parse_bytes
from segloop.cli.segment import segment
from segloop.data import image
from segloop.errors import InputError


def test_commands_say_the_same_option_the_same_way() -> None:
    shared = {
        "model": options.ModelOption,
        "device": options.DeviceOption,
        "threads": options.ThreadsOption,
    }
    for command in (segment, everything, evaluate_points):
        hints = get_type_hints(command, include_extras=True)
        assert {name: hints[name] for name in shared} == shared
    for command in (everything, evaluate_points, export):
        assert get_type_hints(command, include_extras=True)["out"] == options.OutOption


def test_a_folder_has_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert options.folder_name("out") == Path("out")
    for text in ("", "-"):
        with pytest.raises(typer.Exit) as stopped:
            options.folder_name(text)
        assert stopped.value.exit_code == 2
        assert capsys.readouterr().err == (
            f"segloop: error: -o {text!r} is no folder: name one to write to\n"
        )


def test_the_limit_of_pixels_is_that_of_the_library() -> None:
    assert options.MAX_PIXELS == image.MAX_PIXELS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("800M", 800_000_000),
        ("1.2G", 1_200_000_000),
        ("1.2 GB", 1_200_000_000),
        ("2gib", 2 << 30),
        ("512k", 512_000),
        ("1T", 10**12),
    ],
)
def test_sizes_in_bytes(text: str, expected: int) -> None:
    assert parse_bytes(text, "--max-memory") == expected


@pytest.mark.parametrize("text", ["", "800", "0G", "-1G", "1.2.3G", "G", "much"])
def test_a_size_that_is_none_gets_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"--max-memory .*such as 800M"):
        parse_bytes(text, "--max-memory")
