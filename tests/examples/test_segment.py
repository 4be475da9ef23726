from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import segloop
from segloop.cli.prompting import read_requests

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PHOTOGRAPHS = sorted(EXAMPLES.glob("*.jpg"))


def test_the_script_writes_a_cut_out(toy_export: ExportReport, tmp_path: Path) -> None:
    script = runpy.run_path(str(EXAMPLES / "segment.py"))
    predictor = segloop.load(toy_export.folder)
    target = tmp_path / "cup.png"
    box_xyxy = [76.0, 14.0, 482.0, 388.0]
    predicted_iou = script["cut_out_box"](predictor, PHOTOGRAPHS[0], box_xyxy, target)
    masks = predictor.segment(
        predictor.encode(PHOTOGRAPHS[0]), segloop.Prompt(box_xyxy=box_xyxy), outputs="best"
    )
    assert predicted_iou == pytest.approx(float(masks.predicted_iou[0]))
    with Image.open(target) as picture:
        assert np.array_equal(np.asarray(picture)[..., 3] >= 128, masks.masks[0])


def test_the_script_says_how_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["segment.py"])
    with pytest.raises(SystemExit, match="usage: "):
        runpy.run_path(str(EXAMPLES / "segment.py"), run_name="__main__")


def test_every_photograph_names_author_and_licence() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert len(PHOTOGRAPHS) >= 3
    for photograph in PHOTOGRAPHS:
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{photograph.name}`"))
        assert re.search(r"\| (CC0|public domain)[^|]*\|$", row)


def test_every_object_of_the_batch_lies_in_its_photograph() -> None:
    requests, failures = read_requests(str(EXAMPLES / "objects.jsonl"))
    assert not failures
    assert len({json.dumps(request.id) for request in requests}) == len(requests)
    assert {request.image_path for request in requests} == set(PHOTOGRAPHS)
    for request in requests:
        height, width = segloop.load_image(request.image_path).shape[:2]
        request.to_prompt().check_inside((height, width))
