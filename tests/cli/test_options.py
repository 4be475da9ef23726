from __future__ import annotations

from typing import get_type_hints

from segloop.cli import options
from segloop.cli.evaluate import evaluate_points
from segloop.cli.export import export
from segloop.cli.segment import segment


def test_commands_say_the_same_option_the_same_way() -> None:
    shared = {
        "model": options.ModelOption,
        "device": options.DeviceOption,
        "threads": options.ThreadsOption,
    }
    for command in (segment, evaluate_points):
        hints = get_type_hints(command, include_extras=True)
        assert {name: hints[name] for name in shared} == shared
    for command in (evaluate_points, export):
        assert get_type_hints(command, include_extras=True)["out"] == options.OutOption
