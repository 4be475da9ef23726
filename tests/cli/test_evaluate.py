from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import segloop
from segloop.cli.main import build_app
from segloop.geometry.rle import encode_rle

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures of a bright rectangle with its mask, in SA-1B layout."""
    folder = tmp_path / "rectangles"
    folder.mkdir()
    for number in range(2):
        mask = np.zeros((48, 64), dtype=bool)
        mask[10 : 30 + number, 12:50] = True
        picture = np.where(mask[..., None], 220, 40).astype(np.uint8).repeat(3, axis=2)
        Image.fromarray(picture).save(folder / f"{number}.jpg")
        annotation = {
            "id": 1,
            "segmentation": encode_rle(mask).to_json(),
            "bbox": [12, 10, 38, 20 + number],
            "area": int(mask.sum()),
        }
        record = {"image": {"image_id": number}, "annotations": [annotation]}
        (folder / f"{number}.json").write_text(json.dumps(record))
    return folder


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
