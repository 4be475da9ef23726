"""COCO's layout of instances, written here by hand and read back."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segloop.data.coco_instances import open_coco
from segloop.errors import InputError

SQUARE = [[2, 3, 7, 3, 7, 9, 2, 9]]
Write = Callable[[dict[str, Any]], Path]


def record(**changes: Any) -> dict[str, Any]:
    """Two images of 12 x 20 pixels, the later number first; one has a square and a crowd, the other nothing."""
    return {
        "images": [
            {"id": 9, "file_name": "b.png", "height": 12, "width": 20},
            {"id": 4, "file_name": "a.png", "height": 12, "width": 20},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [item(), item(id=8, iscrowd=1, segmentation=runs(60, 24, 156))],
        **changes,
    }


def item(**changes: Any) -> dict[str, Any]:
    square = {"segmentation": SQUARE, "bbox": [2, 3, 5, 6], "area": 30.5, "iscrowd": 0}
    return {"id": 7, "image_id": 4, "category_id": 3, **square, **changes}


def runs(*lengths: int) -> dict[str, Any]:
    return {"size": [12, 20], "counts": list(lengths)}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 12), (10, 20, 30)).save(images / name)

    def write_file(content: dict[str, Any]) -> Path:
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content))
        return path

    return write_file


def test_reads_polygons_runs_and_crowds_in_the_order_of_the_numbers(write: Write) -> None:
    path = write(record())
    dataset = open_coco(path, path.parent / "images")
    assert (dataset.name, len(dataset), dataset.image_ids) == ("instances", 2, (4, 9))
    assert dataset.sizes_hw == {4: (12, 20), 9: (12, 20)}
    assert [(one.id, one.name) for one in dataset.categories] == [(1, "dog"), (3, "cat")]
    sample, empty = dataset.read(0), dataset.read(1)
    assert (sample.name, sample.id, sample.labelling) == ("a", 4, None)
    assert sample.image.shape == (12, 20, 3)
    assert (empty.name, empty.id, empty.annotations) == ("b", 9, ())
    square, crowd = sample.annotations
    expected = np.zeros((12, 20), dtype=bool)
    expected[3:9, 2:7] = True
    assert np.array_equal(square.mask(), expected)
    assert (square.category, square.area, square.bbox_xywh) == ("cat", 30.5, (2, 3, 5, 6))
    assert (square.is_crowd, crowd.is_crowd, square.frequency) == (False, True, None)
    assert crowd.mask()[:, 5:7].all()
    assert crowd.mask().sum() == 24


def test_two_polygons_are_one_mask(write: Write) -> None:
    both = [*SQUARE, [10, 0, 14, 0, 14, 4, 10, 4]]
    path = write(record(annotations=[item(segmentation=both)]))
    mask = open_coco(path, path.parent / "images").read(0).annotations[0].mask()
    assert mask.sum() == 30 + 16
    assert mask[0:4, 10:14].all()


def test_box_and_area_are_the_masks_where_the_file_has_none(write: Write) -> None:
    bare = {key: value for key, value in item().items() if key not in ("bbox", "area", "iscrowd")}
    path = write(record(annotations=[bare]))
    (annotation,) = open_coco(path, path.parent / "images").read(0).annotations
    assert (annotation.area, annotation.bbox_xywh) == (30, (2, 3, 5, 6))
    assert not annotation.is_crowd


def test_no_polygon_is_a_mask_without_a_pixel(write: Write) -> None:
    path = write(record(annotations=[item(segmentation=[])]))
    assert not open_coco(path, path.parent / "images").read(0).annotations[0].mask().any()


def test_corners_rounded_over_the_border_are_cut_off(write: Write) -> None:
    over = [[-0.1, 0, 20.2, 0, 20.2, 12.1, -0.1, 12.1]]
    path = write(record(annotations=[item(segmentation=over)]))
    assert open_coco(path, path.parent / "images").read(0).annotations[0].mask().all()


def test_classes_of_the_same_name_are_told_apart(write: Write) -> None:
    path = write(record(categories=[{"id": 3, "name": "cat"}, {"id": 1, "name": "cat"}]))
    dataset = open_coco(path, path.parent / "images")
    assert [one.name for one in dataset.categories] == ["cat 1", "cat 3"]
    assert dataset.read(0).annotations[0].category == "cat 3"


def test_another_process_reads_the_file_anew(write: Write) -> None:
    path = write(record())
    sent = pickle.dumps(open_coco(path, path.parent / "images", "pets"))
    assert len(sent) < 1000
    arrived = pickle.loads(sent)
    assert (arrived.name, len(arrived.read(0).annotations)) == ("pets", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [item(image_id=5)]}, "annotation 7 is of image 5, which the file lacks"),
        ({"annotations": [item(category_id=2)]}, "annotation 7 is of category 2, which the file"),
        ({"annotations": [item(), item()]}, "more than one annotation has the number 7"),
        ({"images": [{"id": 4}, {"id": 4}]}, "more than one image has the number 4"),
        ({"images": [{"id": 4, "file_name": "a.png"}]}, "COCO's layout of instances .no 'height'"),
        ({"annotations": None}, "is not in COCO's layout"),
        ({"categories": [3]}, "is not in COCO's layout"),
    ],
)
def test_says_what_is_wrong_with_the_file(
    write: Write, changes: dict[str, Any], message: str
) -> None:
    path = write(record(**changes))
    with pytest.raises(InputError, match=message) as raised:
        open_coco(path, path.parent / "images")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmentation": [[1, 2, 3, 4]]}, "annotation 7: a polygon is"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "annotation 7: a polygon is"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "annotation 7: a polygon is"),
        (
            {"segmentation": [[2, 3, 25, 3, 25, 9]]},
            "annotation 7: an outline larger than the image; corners are pixels, x from 0 to 20",
        ),
        ({"segmentation": [[2, 3, 7, 3, 7, -1]]}, "annotation 7: an outline larger than the image"),
        ({"segmentation": {"size": [20, 12], "counts": [240]}}, "its mask is .20, 12. .* .12, 20."),
        ({"segmentation": runs(60, 20)}, "do not fit its size"),
        ({"segmentation": None}, "annotation 7: a polygon is"),
        ({"area": float("nan")}, "box and area must be finite"),
        ({"bbox": [1, 2, -3, 4]}, "no side and no area below 0"),
        ({"bbox": [1, 2, 3]}, "annotation 7"),
    ],
)
def test_says_what_is_wrong_with_an_annotation(
    write: Write, changes: dict[str, Any], message: str
) -> None:
    path = write(record(annotations=[item(**changes)]))
    dataset = open_coco(path, path.parent / "images")
    with pytest.raises(InputError, match=message):
        dataset.read(0)


def test_a_box_alone_is_no_instance(write: Write) -> None:
    bare = item()
    del bare["segmentation"]
    path = write(record(annotations=[bare]))
    with pytest.raises(InputError, match="annotation 7: no 'segmentation'"):
        open_coco(path, path.parent / "images").read(0)


def test_names_an_image_that_is_missing_or_of_another_size(write: Write) -> None:
    path = write(record())
    images = path.parent / "images"
    Image.new("RGB", (12, 20)).save(images / "a.png")
    (images / "b.png").unlink()
    dataset = open_coco(path, images)
    with pytest.raises(InputError, match=r"a.png is .20, 12. .height, width., its annotation says"):
        dataset.read(0)
    with pytest.raises(InputError, match=r"image 9 is missing: no .*b.png"):
        dataset.read(1)


def test_names_a_file_or_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(InputError, match=r"text\.json is not JSON"):
        open_coco(tmp_path / "text.json", tmp_path)
    with pytest.raises(InputError, match=r"cannot read .*none\.json"):
        open_coco(tmp_path / "none.json", tmp_path)
    with pytest.raises(InputError, match="no such folder of images"):
        open_coco(tmp_path / "text.json", tmp_path / "none")
