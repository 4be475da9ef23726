from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import segloop
from segloop.cli.main import COMMANDS, GROUPS, build_app

PATHS = [[name] for name in COMMANDS] + [
    [group, name] for group, (_, commands) in GROUPS.items() for name in commands
]


def test_the_table_is_the_command_line() -> None:
    result = CliRunner().invoke(build_app(), ["--help"])
    assert result.exit_code == 0
    for name in (*COMMANDS, *GROUPS):
        assert name in result.stdout


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: list[str]) -> None:
    result = CliRunner().invoke(build_app(), [*path, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.stdout
    names = [name for name in path if not name.isupper()]
    assert " ".join(["segloop", *names]) in result.stdout.split("Example", 1)[1]


@pytest.mark.parametrize("arguments", [[], ["evaluate"], ["train"]])
def test_without_a_command_there_is_help(arguments: list[str]) -> None:
    result = CliRunner().invoke(build_app(), arguments)
    assert "Usage" in result.output
    assert result.exit_code in (0, 2)  # typer has answered both


@pytest.mark.parametrize("arguments", [["nothing"], ["segment", "a.jpg", "--pint", "1,2"]])
def test_an_unknown_command_or_option_is_a_usage_error(arguments: list[str]) -> None:
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("arguments", [["toy"], ["RECIPE", "toy"], ["--data", "x", "toy"]])
def test_what_is_no_command_of_training_is_a_recipe(arguments: list[str]) -> None:
    result = CliRunner().invoke(build_app(), ["train", *arguments, "--help"])
    assert result.exit_code == 0
    assert "train RECIPE" in result.stdout


def test_version() -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "segloop", "--version"], capture_output=True, text=True, check=True
    )
    assert completed.stdout == f"segloop {segloop.__version__}\n"


def test_ctrl_c_during_the_first_imports_is_one_line() -> None:
    script = """
import runpy, sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == "segloop.cli.main":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
runpy.run_module("segloop", run_name="__main__")
"""
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 130
    assert completed.stderr == "segloop: error: interrupted\n"


def test_the_table_loads_no_heavy_package() -> None:
    script = (
        "import sys, segloop.cli.main; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    heavy = {"numpy", "cv2", "PIL", "onnxruntime", "torch", "pycocotools", "fastapi", "scipy"}
    assert not heavy & set(completed.stdout.split())
