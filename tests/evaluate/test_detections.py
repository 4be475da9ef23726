"""Boxes of the truth and of files of COCO results."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segloop.data.coco_instances import CocoInstances, open_coco
from segloop.data.sample import Sample
from segloop.errors import InputError
from segloop.evaluate.detections import (
    Detection,
    FileBoxes,
    ModelBoxes,
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


# --- a detector of transformers ---------------------------------------------------------------------------------------

CENTER, EXTENT = 0.5, 0.25


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sees a dog with three of four shares of certainty in the middle of every image, twice."""
    import torch
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 32],
        num_detection_tokens=2,
        id2label={0: "cat", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )
    model = YolosForObjectDetection(config)
    for head, biases in (
        (model.class_labels_classifier, [-20, math.log(3), 0]),
        (model.bbox_predictor, [logit(CENTER), logit(CENTER), logit(EXTENT), logit(2 * EXTENT)]),
    ):
        with torch.no_grad():
            head.layers[-1].weight.zero_()
            head.layers[-1].bias.copy_(torch.tensor(biases))
    folder = tmp_path_factory.mktemp("detector")
    model.save_pretrained(folder)
    YolosImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def logit(share: float) -> float:
    return math.log(share / (1 - share))


@pytest.fixture
def photo() -> Sample:
    image = np.random.default_rng(0).integers(0, 255, (40, 80, 3), dtype=np.uint8)
    return Sample("a", image, ())


def test_a_detector_gives_boxes_in_image_pixels(detector: Path, photo: Sample) -> None:
    found = ModelBoxes(str(detector)).start()(photo)
    assert [one.category for one in found] == ["dog", "dog"]
    assert [one.score for one in found] == pytest.approx([0.75, 0.75], abs=1e-5)
    # A quarter of 80 wide and a half of 40 high about 40, 20.
    assert found[0].box_xyxy == pytest.approx((30, 10, 50, 30), abs=1e-3)
    assert found[0].truth is None


def test_a_detector_is_sent_by_name(detector: Path, photo: Sample) -> None:
    boxes = ModelBoxes(str(detector), categories=("dog", "cow"))
    sent = pickle.dumps(boxes)
    assert len(sent) < 1000
    assert pickle.loads(sent).start()(photo) == boxes.start()(photo)


def test_scores_and_categories_choose(detector: Path, photo: Sample) -> None:
    assert ModelBoxes(str(detector), least_score=0.8).start()(photo) == ()
    assert ModelBoxes(str(detector), categories=("cat",)).start()(photo) == ()
    with pytest.raises(InputError, match="knows none of the dataset's categories; it has cat, dog"):
        ModelBoxes(str(detector), categories=("cow",)).start()


def test_says_why_a_detector_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"detector .* cannot be loaded") as raised:
        ModelBoxes(str(tmp_path)).start()
    assert "\n" not in str(raised.value)


def test_a_detector_gone_wrong_is_noticed(detector: Path, photo: Sample, tmp_path: Path) -> None:
    import torch
    from transformers import YolosForObjectDetection

    shutil.copytree(detector, tmp_path / "broken")
    model = YolosForObjectDetection.from_pretrained(detector)
    with torch.no_grad():
        model.bbox_predictor.layers[-1].bias.fill_(float("nan"))
    model.save_pretrained(tmp_path / "broken")
    with pytest.raises(InputError, match="a: the detector gives numbers that are not finite"):
        ModelBoxes(str(tmp_path / "broken")).start()(photo)
