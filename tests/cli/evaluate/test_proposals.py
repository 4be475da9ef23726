from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import segloop
from segloop.cli.main import build_app

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport


@pytest.mark.parametrize(
    ("option", "predicted_iou_threshold", "box_nms_threshold"),
    [("--no-filters", 0, 0.9), ("--filters", 0.88, 0.7)],
)
def test_proposals_prints_a_table_and_writes_the_numbers(
    option: str,
    predicted_iou_threshold: float,
    box_nms_threshold: float,
    toy_export: ExportReport,
    data: Path,
    tmp_path: Path,
) -> None:
    arguments = ["evaluate", "proposals", str(data), "--model", str(toy_export.folder), option]
    arguments += ["-o", str(tmp_path / "out"), "--points-per-side", "2"]
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert "AR@1000" in result.stdout
    report = json.loads((tmp_path / "out" / "proposals.json").read_text())
    assert report["settings"]["predicted_iou_threshold"] == predicted_iou_threshold
    assert report["settings"]["box_nms_threshold"] == box_nms_threshold
    (dataset,) = report["datasets"]
    assert dataset["counts"] == {"num_images": 2, "num_masks": 2, "num_crowds": 0, "num_empty": 0}
    assert len((tmp_path / "out" / "proposals.jsonl").read_text().splitlines()) == 2


def test_proposals_are_filtered_as_suits_the_model(data: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "proposals", str(data), "--filters", "--points-per-side", "2"]
    arguments += ["--limit", "1", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(build_app(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    settings = json.loads((tmp_path / "out" / "proposals.json").read_text())["settings"]
    kept = (settings["predicted_iou_threshold"], settings["stability_threshold"])
    assert kept == segloop.load().spec.automatic_thresholds
    assert settings["points_per_side"] == 2


def test_a_second_run_takes_the_scores_of_the_first_and_single_is_another(
    toy_export: ExportReport, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", "proposals", str(data), "--model", str(toy_export.folder)]
    arguments += ["-o", str(out), "--points-per-side", "2"]

    def run(*more: str) -> tuple[int, str]:
        result = CliRunner().invoke(build_app(), [*arguments, *more], catch_exceptions=False)
        return result.exit_code, result.stderr

    assert run("--limit", "1") == (0, "")
    journal = out / "journal" / "proposals-rectangles.jsonl"
    first = journal.read_text()
    assert run("--jobs", "2") == (0, "")
    assert journal.read_text().startswith(first)
    assert len(journal.read_text().splitlines()) == 3
    code, error = run("--single")
    assert code == 2
    assert "ranking quality (now random)" in error
    assert run("--single", "--redo") == (0, "")
    report = json.loads((out / "proposals.json").read_text())
    assert report["settings"]["box_nms_threshold"] == 0.95
    assert report["datasets"][0]["protocol"]["ranking"] == "random"
    # One mask a point of the grid, not three.
    assert report["datasets"][0]["images"][0]["num_generated"] <= 4
    assert run("--single", "--filters")[0] == 2
