from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from segloop.cli.main import build_app
from segloop.predict.closer import CloserConfig

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(
        build_app(), ["evaluate", "instances", *arguments], catch_exceptions=False
    )
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    """One picture with two objects of two classes, as COCO annotates, and a detector's boxes of them."""
    images = tmp_path / "val"
    images.mkdir()
    Image.new("RGB", (60, 40), (90, 120, 30)).save(images / "7.jpg")
    annotations = [
        {
            "id": number,
            "image_id": 7,
            "category_id": number,
            "iscrowd": 0,
            "bbox": [left, 10, 20, 20],
            "area": 400,
            "segmentation": [[left, 10, left + 20, 10, left + 20, 30, left, 30]],
        }
        for number, left in ((1, 5), (2, 35))
    ]
    record = {
        "images": [{"id": 7, "file_name": "7.jpg", "width": 60, "height": 40}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": annotations,
    }
    (tmp_path / "instances.json").write_text(json.dumps(record))
    boxes = [
        {"image_id": 7, "category_id": one["category_id"], "bbox": one["bbox"], "score": 0.9}
        for one in annotations
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return tmp_path / "instances.json", images


def test_a_closer_look_is_another_run(toy_export: ExportReport, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [str(data), "--model", str(toy_export.folder), "-o", str(out)]

    def report() -> Any:
        return json.loads((out / "instances.json").read_text())

    assert run(*arguments)[0] == 0
    plain = report()
    code, _, error = run(*arguments, "--closer")
    assert code == 2
    assert "closer False (now True)" in error
    # What another width of the windows scored is none of this run's either.
    margin = CloserConfig().margin
    assert re.search(rf"closer_config None \(now {{.*'margin': {margin}[,}}]", error)
    assert run(*arguments, "--closer", "--redo")[0] == 0
    closer = report()
    assert (plain["settings"]["closer"], closer["settings"]["closer"]) == (False, True)
    assert plain["datasets"] != closer["datasets"]


def test_true_boxes_with_noise(toy_export: ExportReport, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [str(data), "--model", str(toy_export.folder), "-o", str(out)]
    code, table, error = run(*arguments, "--noise", "0,0.2", "--one-class")
    assert (code, error) == (0, "")
    lines = [line.split() for line in table.splitlines()[1:3]]
    assert [line[:4] for line in lines] == [
        ["rectangles", "2", "2", "0"],
        ["rectangles", "2", "2", "0.2"],
    ]
    report = json.loads((out / "instances.json").read_text())
    assert report["settings"] == {
        "boxes": "truth",
        "model": str(toy_export.folder),
        "closer": False,
    }
    assert report["datasets"][0]["protocol"]["noise"] == [0, 0.2]
    rows = [json.loads(line) for line in (out / "instances.jsonl").read_text().splitlines()]
    of_boxes = [(row["image"], row["noise"]) for row in rows if "annotation_id" in row]
    of_images = [(row["image"], row["noise"]) for row in rows if "counts" in row]
    assert of_boxes == of_images == [("0", 0), ("0", 0.2), ("1", 0), ("1", 0.2)]
    assert len(rows) == 8
    code, _, error = run(*arguments, "--noise", "0.5", "--one-class")
    assert code == 2
    assert "noise [0.0, 0.2] (now [0.5])" in error


def test_boxes_of_a_file(
    toy_export: ExportReport, coco: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    annotations, images = coco
    boxes = tmp_path / "boxes.json"
    arguments = ["--model", str(toy_export.folder), "-o", str(tmp_path / "out")]
    arguments += ["--boxes", str(boxes)]
    code, table, error = run(f"{annotations}={images}", *arguments)
    assert (code, error) == (0, "")
    assert table.splitlines()[1].split()[1:4] == ["1", "2", "0"]
    report = json.loads((tmp_path / "out" / "instances.json").read_text())
    categories = report["datasets"][0]["summary"]["levels"][0]["precision"]["categories"]
    assert [one["category"] for one in categories] == ["cat", "dog"]

    code, _, error = run(str(data), *arguments)
    assert code == 2
    assert "give the data as ANNOTATIONS.json=FOLDER" in error
    (tmp_path / "boxes.json").write_text('[{"image_id": 8}]')
    code, _, error = run(f"{annotations}={images}", *arguments, "--redo")
    assert code == 2
    assert str(boxes) in error


def test_options_that_make_no_sense(data: Path, tmp_path: Path) -> None:
    for option, value, message in (
        ("--noise", "much", "give shares such as"),
        ("--noise", "0,2", "0 to 1 each"),
        ("--boxes", "no/such/detector", "no/such/detector"),
    ):
        code, _, error = run(str(data), option, value, "-o", str(tmp_path / "out"), "--one-class")
        assert code == 2
        assert message in error
