"""A long run that is killed, interrupted, or out of disk: what is there is whole, and the same command goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport

# Weights that were never trained leave nothing at the released thresholds.
ANY_MASK = ("--min-iou", "0", "--min-stability", "0", "--threads", "1")
FEW_POINTS = ("--points-per-side", "3")
ALL_FORMATS = ("--format", "coco,labels,overlay")

DrawPng = Callable[[tuple[int, int], int], bytes]
FilesBelow = Callable[[Path], dict[str, bytes]]


def start(report: ExportReport, *arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "segloop", "everything", *arguments]
    command += ["--model", str(report.folder), *ANY_MASK]
    pipes: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **{**pipes, **options})  # type: ignore[call-overload,no-any-return]


def num_done(folder: Path) -> int:
    journal = folder / "done.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def wait_for_first(out: Path, process: subprocess.Popen[str]) -> None:
    while num_done(out) < 1:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)


@pytest.fixture
def many(photos: Path, draw_png: DrawPng) -> list[str]:
    """The arguments of a run that takes long enough to be stopped in the middle."""
    for number in range(12):
        (photos / f"c{number:02}.png").write_bytes(draw_png((90, 120), number))
    return ["photos", *ALL_FORMATS, "--copy-images", "--points-per-side", "8", "-o"]


def test_a_killed_run_leaves_whole_files_and_ends_as_if_undisturbed(
    toy_export: ExportReport, many: list[str], files_below: FilesBelow
) -> None:
    out = Path("out")
    process = start(toy_export, *many, "out")
    wait_for_first(out, process)
    process.kill()
    process.communicate()
    done = num_done(out)
    assert 0 < done < 15
    for path in out.rglob("*.json"):
        json.loads(path.read_bytes())
    for path in (*out.rglob("*.png"), *out.rglob("*.jpg")):
        with Image.open(path) as image:
            image.load()
    num_records = len([path for path in out.rglob("*.json") if path.name != "run.json"])
    assert num_records in (done, done + 1)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    again = start(toy_export, *many, "out")
    stdout, stderr = again.communicate()
    assert again.returncode == 0, stderr
    assert "15 images" in stdout
    assert f", {done} of them done before" in stdout
    redone = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
    assert len(redone) <= 1
    undisturbed = start(toy_export, *many, "undisturbed")
    undisturbed.communicate()
    assert files_below(out) == files_below(Path("undisturbed"))


def test_ctrl_c_says_how_far_it_came_and_the_same_command_goes_on(
    toy_export: ExportReport, many: list[str]
) -> None:
    process = start(toy_export, *many, "out")
    wait_for_first(Path("out"), process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    done = num_done(Path("out"))
    assert process.returncode == 130
    assert stdout == ""
    assert stderr == (
        f"segloop: interrupted: {done} of 15 images are done; the same command goes on from there\n"
    )
    assert not Path("out/.partial").exists()
    again = start(toy_export, *many, "out")
    assert f", {done} of them done before" in again.communicate()[0]
    assert num_done(Path("out")) == 15


def limit_file_size(num_bytes: int) -> Callable[[], None]:
    resource = pytest.importorskip("resource", reason="limits are a matter of Unix")
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def test_a_full_disk_stops_the_run_and_loses_nothing(
    toy_export: ExportReport, photos: Path, files_below: FilesBelow
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "b.png")
    given = ["photos", "--format", "overlay", *FEW_POINTS, "-o"]
    process = start(toy_export, *given, "out", preexec_fn=limit_file_size(80_000))
    stdout, stderr = process.communicate()
    assert process.returncode == 1
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert line == (
        "segloop: error: cannot write out/b_overlay.jpg: File too large; "
        "1 of 3 images are done; the same command goes on from there"
    )
    assert not Path("out/b_overlay.jpg").exists()
    assert not Path("out/.partial").exists()
    stdout, stderr = start(toy_export, *given, "out").communicate()
    assert "1 of them done before" in stdout, stderr
    start(toy_export, *given, "undisturbed").communicate()
    assert files_below(Path("out")) == files_below(Path("undisturbed"))
