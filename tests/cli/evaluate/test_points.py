from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from segloop.cli.main import build_app
from segloop.evaluate import conditions
from segloop.evaluate.conditions import Conditions, describe_conditions
from segloop.evaluate.points import SCORING

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport


def test_points_prints_a_table_and_writes_the_numbers(
    toy_export: ExportReport, data: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", "points", str(data), "--model", str(toy_export.folder)]
    arguments += ["-o", str(tmp_path / "out"), "--max-clicks", "9"]
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert "rectangles" in result.stdout
    assert "GrabCut" in result.stdout
    report = json.loads((tmp_path / "out" / "points.json").read_text())
    (dataset,) = report["datasets"]
    assert dataset["name"] == "rectangles"
    assert dataset["counts"]["num_images"] == 2
    assert report["baselines"][0]["summary"]["filled_box_iou"]["mean"] == pytest.approx(1.0)


def test_points_of_some_images_without_baselines(
    toy_export: ExportReport, data: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", "points", str(data), "--model", str(toy_export.folder)]
    arguments += [
        "-o",
        str(tmp_path / "out"),
        "--limit",
        "1",
        "--no-baselines",
        "--max-clicks",
        "9",
    ]
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "out" / "points.json").read_text())
    assert report["baselines"] == []
    assert report["datasets"][0]["counts"]["num_images"] == 1


def test_data_that_is_not_there(toy_export: ExportReport, tmp_path: Path) -> None:
    arguments = ["evaluate", "points", str(tmp_path / "none.tar"), "-o", str(tmp_path / "out")]
    arguments += ["--model", str(toy_export.folder)]
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 2
    assert "no such tar or folder" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_second_run_takes_the_scores_of_the_first(
    toy_export: ExportReport, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", "points", str(data), "--model", str(toy_export.folder)]
    arguments += ["-o", str(out), "--no-baselines", "--max-clicks", "9"]

    def run(*more: str) -> tuple[int, str]:
        result = CliRunner().invoke(build_app(), [*arguments, *more], catch_exceptions=False)
        return result.exit_code, result.stderr

    assert run("--limit", "1") == (0, "")
    journal = out / "journal" / "points-rectangles.jsonl"
    first = journal.read_text()
    assert len(first.splitlines()) == 2
    assert run("--jobs", "2") == (0, "")
    both = journal.read_text()
    assert both.startswith(first)
    assert len(both.splitlines()) == 3
    report = json.loads((out / "points.json").read_text())
    assert report["datasets"][0]["counts"]["num_masks"] == 2
    assert run() == (0, "")
    assert journal.read_text() == both

    line = f'"scoring":{SCORING}'
    journal.write_text(both.replace(line, '"scoring":0'))
    code, error = run()
    assert code == 2
    assert f"made with scoring 0 (now {SCORING})" in error
    journal.write_text(both)

    code, error = run("--first-click", "random")
    assert code == 2
    assert "made with first_click center (now random)" in error
    (data / "0.json").write_text((data / "0.json").read_text() + " ")
    code, error = run()
    assert code == 2
    assert "made with files" in error
    assert run("--redo") == (0, "")


def test_the_commit_is_the_one_at_the_start(
    toy_export: ExportReport, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def describe() -> Conditions:
        # What is noted once an image is scored may be of another commit.
        assert not (out / "journal").exists()
        return replace(describe_conditions(), commit="at the start")

    monkeypatch.setattr(conditions, "describe_conditions", describe)
    arguments = ["evaluate", "points", str(data), "--model", str(toy_export.folder)]
    arguments += ["-o", str(out), "--no-baselines", "--max-clicks", "9", "--limit", "1"]
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    report = json.loads((out / "points.json").read_text())
    assert report["commit"] == "at the start"
    assert report["model"] == str(toy_export.folder)
    assert report["device"] == {"name": "cpu", "processor": None}
    lines = (out / "journal" / "points-rectangles.jsonl").read_text().splitlines()
    settings = json.loads(lines[0])["settings"]
    (origin,) = report["data"]
    assert origin == {"name": "rectangles", "path": str(data), "stamp": settings["files"]}


def test_a_first_click_of_another_kind_is_refused(data: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "points", str(data), "-o", str(tmp_path), "--first-click", "edge"]
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 2
    assert "center or random, not 'edge'" in result.stderr


def test_a_set_of_the_paper_stands_beside_what_was_published(
    toy_export: ExportReport, tmp_path: Path
) -> None:
    image = tmp_path / "dsb2018" / "stage1_train" / "00ae"
    for part in ("images", "masks"):
        (image / part).mkdir(parents=True)
    Image.new("RGB", (40, 30), (20, 60, 90)).save(image / "images" / "00ae.png")
    mask = np.zeros((30, 40), dtype=np.uint8)
    mask[5:20, 10:30] = 255
    Image.fromarray(mask).save(image / "masks" / "1.png")
    arguments = ["evaluate", "points", f"BBBC038v1={tmp_path / 'dsb2018'}", "--no-baselines"]
    arguments += ["--model", str(toy_export.folder), "-o", str(tmp_path / "out")]
    arguments += ["--max-clicks", "9"]
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    row = next(line for line in result.stdout.splitlines() if line.startswith("| BBBC038v1"))
    assert row.endswith("| 227 | 10506 | +44.7 |")
    assert "Mean of 1 of 23 sets" in result.stdout

    arguments[2] = f"BBBC039={tmp_path}"
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 2
    assert "no data set BBBC039" in result.stderr
