"""Every mistake of a user, and every failure of the machine that can be provoked, ends in one clear line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from segloop.cli.main import build_app

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport

POINT = ("--point", "9,9")

# What is wrong, the arguments of `segloop segment` (MODEL stands for one that works), and words of the line.
MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    "missing file": (("none.jpg", *POINT), "none.jpg: no such file"),
    "folder for a file": ((".", *POINT), "is a folder"),
    "text named .jpg": (("text.jpg", *POINT), "text.jpg is not an image"),
    "empty file": (("empty.jpg", *POINT), "empty.jpg is not an image"),
    "truncated image": (("cut.png", *POINT), "cut.png is damaged or cut short"),
    "no image": (POINT, "no image: name one"),
    "no prompt": (("a.png",), "no prompt"),
    "point outside": (("a.png", "--point", "900,9"), "point 900,9 lies outside the image of 90 x 60"),
    "negative point": (("a.png", "--point", "-5,9"), "point -5,9 lies outside"),
    "half a point": (("a.png", "--point", "9"), "is not x,y"),
    "word for a point": (("a.png", "--point", "left,9"), "is not x,y"),
    "endless point": (("a.png", "--point", "1e39,10"), "all finite and of 1e+09 at most"),
    "endless box": (("a.png", "--box", "0,0,1e39,1e30"), "all finite and of 1e+09 at most"),
    "label of a point": (("a.png", "--point", "9,9,2"), "label must be 1"),
    "empty box": (("a.png", "--box", "9,9,9,20"), "box 9,9,9,20 is empty"),
    "box outside": (("a.png", "--box", "900,9,950,20"), "lies outside the image"),
    "half a box": (("a.png", "--box", "9,9,20"), "is not x0,y0,x1,y1"),
    "two boxes": (("a.png", "--box", "1,1,5,5", "--box", "1,1,5,5"), "one --box at most"),
    "missing mask": (("a.png", "--mask", "none.png"), "none.png: no such file"),
    "mask of another size": (("a.png", "--mask", "small.png"), "mask is (6, 9)"),
    "empty mask": (("a.png", "--mask", "black.png"), "mask prompt is empty"),
    "unknown model": (("a.png", *POINT, "--model", "vit_x"), "no model 'vit_x'; there are default"),
    "missing weights": (("a.png", *POINT, "--model", "none.pth"), "none.pth: no such file"),
    "unreadable weights": (("a.png", *POINT, "--model", "text.pth"), "text.pth: expected a PyTorch"),
    "empty model folder": (("a.png", *POINT, "--model", "folder"), "folder"),
    "truncated graph": (("a.png", *POINT, "--model", "broken"), "encoder.onnx"),
    "unknown device": (("a.png", *POINT, "--model", "MODEL", "--device", "abacus"), "abacus"),
    "output is a file": (("a.png", *POINT, "-o", "text.jpg"), "-o text.jpg is a file"),
    "output below a file": (("a.png", *POINT, "-o", "text.jpg/out"), "cannot make the folder"),
    "output without a name": (("a.png", *POINT, "-o", ""), "-o '' is no folder"),
    "output to a dash": (("a.png", *POINT, "-o", "-"), "-o '-' is no folder"),
    "missing batch": (("--prompts", "none.jsonl"), "none.jsonl: no such file"),
    "empty batch": (("--prompts", "empty.jpg"), "is empty"),
    "batch and point": (("a.png", *POINT, "--prompts", "x.jsonl"), "leave out --point"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, toy_export: ExportReport, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one good photograph and one of each kind of bad file; the current one."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("a text that calls itself a photograph")
    (tmp_path / "text.pth").write_text("a text that calls itself weights")
    Image.new("L", (9, 6), 255).save(tmp_path / "small.png")
    Image.new("L", (90, 60)).save(tmp_path / "black.png")
    (tmp_path / "folder").mkdir()
    shutil.copytree(toy_export.folder, tmp_path / "broken")
    graph = tmp_path / "broken" / "encoder.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(
    mistake: str, folder: Path, toy_export: ExportReport
) -> None:
    arguments, words = MISTAKES[mistake]
    given = [str(toy_export.folder) if one == "MODEL" else one for one in arguments]
    if "--model" not in given:
        given += ["--model", str(toy_export.folder)]
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(build_app(), ["segment", *given], catch_exceptions=False)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("segloop: error: ")
    assert words in line
    assert sorted(folder.rglob("*")) == before


def segment(
    report: ExportReport, *arguments: str, **options: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "segloop", "segment", "a.png", *POINT]
    command += ["--model", str(report.folder), *arguments]
    settings: dict[str, object] = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **settings)  # type: ignore[call-overload,no-any-return]


@pytest.mark.usefixtures("folder")
def test_a_full_disk_behind_standard_output(toy_export: ExportReport) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("w") as stream:
        completed = segment(toy_export, stdout=stream)
    assert completed.returncode == 1
    assert completed.stderr == "segloop: error: cannot write the output: No space left on device\n"


def limit_file_size() -> Callable[[], None]:
    resource = pytest.importorskip("resource", reason="limits are a matter of Unix")
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))


@pytest.mark.usefixtures("folder")
def test_a_full_disk_under_the_folder_leaves_no_part_of_a_file(toy_export: ExportReport) -> None:
    completed = segment(toy_export, "-o", "out", preexec_fn=limit_file_size())
    assert completed.returncode == 1
    (line,) = completed.stderr.splitlines()
    assert line.startswith("segloop: error: cannot write out")
    assert "File too large" in line
    for path in Path("out").iterdir():
        with Image.open(path) as picture:
            picture.load()


@pytest.mark.usefixtures("folder")
def test_a_folder_without_permission(toy_export: ExportReport) -> None:
    Path("closed").mkdir(mode=0o500)
    if os.access("closed", os.W_OK):
        # The superuser may write everywhere; /proc refuses even that one.
        target = "/proc/segloop"
        if not Path("/proc").is_dir():
            pytest.skip("nothing is closed to this user")
    else:
        target = "closed"
    completed = segment(toy_export, "-o", target)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert target in line
    assert line.startswith("segloop: error: ")


@pytest.mark.usefixtures("folder")
def test_a_reader_that_has_seen_enough_is_no_error(toy_export: ExportReport) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    completed = segment(toy_export, stdout=writer)
    os.close(writer)
    assert completed.stderr == ""
    assert completed.returncode != 0


def run_in_shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    if os.name == "nt":
        pytest.skip("closing a stream is a matter of Unix")
    command = ["sh", "-c", f'exec "$0" "$@" {redirection}', sys.executable, "-m", "segloop"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("folder")
def test_closed_streams_are_no_crash(toy_export: ExportReport) -> None:
    model = ("--model", str(toy_export.folder))
    silent = run_in_shell(">&-", "segment", "a.png", *POINT, *model, "-o", "out")
    assert (silent.returncode, silent.stderr) == (0, "")
    assert Path("out", "a_mask.png").exists()
    deaf = run_in_shell("<&-", "segment", "--prompts", "-", *model)
    assert deaf.returncode == 2
    assert deaf.stderr.startswith("segloop: error: standard input is closed")
    mute = run_in_shell("<&- >&- 2>&-", "segment", "none.png", *POINT, *model)
    assert (mute.returncode, mute.stdout, mute.stderr) == (2, "", "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["segment", "--help"]])
def test_a_full_disk_behind_help(arguments: list[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    completed = run_in_shell("> /dev/full", *arguments)
    assert completed.returncode == 1
    assert completed.stderr == "segloop: error: cannot write the output: No space left on device\n"
