"""Boxes of the truth and of files of COCO results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segloop.data.coco_instances import CocoInstances, open_coco
from segloop.errors import InputError
from segloop.evaluate.detections import (
    Detection,
    FileBoxes,
    TruthBoxes,
    clip_box,
    jitter_boxes,
)

SQUARE = [[2, 3, 7, 3, 7, 9, 2, 9]]
POINT = {"size": [12, 20], "counts": [25, 1, 214]}


@pytest.fixture
def dataset(tmp_path: Path) -> CocoInstances:
    Image.new("RGB", (20, 12)).save(tmp_path / "a.png")
    annotations: list[dict[str, Any]] = [
        {"id": 1, "segmentation": SQUARE, "category_id": 3},
        {"id": 2, "segmentation": SQUARE, "category_id": 3, "iscrowd": 1},
        {"id": 3, "segmentation": [], "category_id": 3},
        {"id": 4, "segmentation": POINT, "category_id": 5},
    ]
    content = {
        "images": [
            {"id": number, "file_name": "a.png", "height": 12, "width": 20} for number in (4, 6)
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": [{"image_id": 4, **one} for one in annotations],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return open_coco(path, tmp_path)


def detection(**changes: Any) -> dict[str, Any]:
    return {"image_id": 4, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5, **changes}


def results(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    return path


def test_the_truth_gives_the_boxes_of_its_masks(dataset: CocoInstances) -> None:
    found = TruthBoxes().start()(dataset.read(0))
    # The last pixels are x 6 and y 8; a mask of one pixel, here x 2 and y 1, gets that pixel's extent.
    assert found == (
        Detection("cat", 1.0, (2, 3, 6, 8), 0),
        Detection("dog", 1.0, (2, 1, 3, 2), 3),
    )
    assert TruthBoxes().start()(dataset.read(1)) == ()


def test_a_file_gives_the_boxes_of_each_image(dataset: CocoInstances, tmp_path: Path) -> None:
    path = results(
        tmp_path,
        [detection(), detection(category_id=5, score=0.9, bbox=[-2, 8.5, 40, 10], segmentation=1)],
    )
    detect = FileBoxes(path, dataset).start()
    assert detect(dataset.read(0)) == (
        Detection("cat", 0.5, (1, 2, 4, 6)),
        Detection("dog", 0.9, (0, 8.5, 20, 12)),
    )
    assert detect(dataset.read(1)) == ()


def test_a_file_of_no_detections_gives_none(dataset: CocoInstances, tmp_path: Path) -> None:
    assert FileBoxes(results(tmp_path, []), dataset).start()(dataset.read(0)) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, "the annotations have no image 5"),
        ({"category_id": 4}, "the annotations have no category 4"),
        ({"score": float("nan")}, "its score is nan"),
        ({"bbox": [1, 2, float("nan"), 4]}, r"its box is \[1, 2, nan, 4\]"),
        ({"bbox": [20, 2, 3, 4]}, "box 20,2,23,6 is empty or outside its image of 20 x 12 pixels"),
        ({"bbox": [-5, -5, 5, 5]}, "is empty or outside its image"),
        ({"bbox": [1, 2, 0, 4]}, "is empty or outside its image"),
        ({"bbox": [1, 2, -3, 4]}, "is empty or outside its image"),
        ({"bbox": [1, 2, 3]}, "detection 2: not enough values"),
        ({"bbox": None}, "detection 2: "),
    ],
)
def test_says_which_detection_is_wrong(
    dataset: CocoInstances, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = results(tmp_path, [detection(), detection(**change)])
    with pytest.raises(InputError, match=message) as raised:
        FileBoxes(path, dataset).start()
    assert str(raised.value).startswith(f"{path}, detection 2: ")
    assert "\n" not in str(raised.value)


def test_says_what_is_wrong_with_the_file(dataset: CocoInstances, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a list of detections is wanted"):
        FileBoxes(results(tmp_path, {"annotations": []}), dataset).start()
    with pytest.raises(InputError, match="detection 1: no 'image_id'"):
        FileBoxes(results(tmp_path, [{}]), dataset).start()
    with pytest.raises(InputError, match=r"cannot read .*none\.json"):
        FileBoxes(tmp_path / "none.json", dataset).start()
    (tmp_path / "text.json").write_text("[")
    with pytest.raises(InputError, match="is not JSON"):
        FileBoxes(tmp_path / "text.json", dataset).start()


def test_a_box_is_cut_to_its_image() -> None:
    assert clip_box((-1, -2, 30, 5), (10, 20)) == (0, 0, 20, 5)
    assert clip_box((1, 2, 3, 5), (10, 20)) == (1, 2, 3, 5)


def test_noise_moves_sides_by_shares_of_the_box() -> None:
    boxes = np.array([[10, 20, 30, 60]], dtype=np.float32)
    draws = np.array([[1, -1, 0.5, 0]], dtype=np.float32)
    assert jitter_boxes(boxes, 0.1, draws, (100, 100)).tolist() == [[12, 16, 31, 60]]
    assert jitter_boxes(boxes, 0.0, draws, (100, 100)) is boxes


def test_noise_leaves_a_box_of_some_extent_in_the_image() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 90, (500, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 10, (500, 2))], axis=1)
    draws = rng.uniform(-1, 1, (500, 4)).astype(np.float32)
    moved = jitter_boxes(boxes.astype(np.float32), 1.0, draws, (100, 100))
    assert (moved >= 0).all()
    assert (moved <= 100).all()
    assert (moved[:, 2:] - moved[:, :2] >= 1 - 1e-4).all()
    assert len(jitter_boxes(np.zeros((0, 4), np.float32), 0.5, draws[:0], (100, 100))) == 0
