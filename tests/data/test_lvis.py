"""LVIS v1 and v0.5, written here by hand and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from segloop.data.lvis import frequency_of, open_instances, open_lvis
from segloop.errors import InputError

SQUARE = [[2, 3, 7, 3, 7, 9, 2, 9]]
CATEGORIES = [
    {"id": 1, "name": "acorn", "frequency": "r", "image_count": 500},
    {"id": 2, "name": "bowl", "frequency": "f"},
    {"id": 3, "name": "cup", "image_count": 99},
]


def write(folder: Path, image: dict[str, Any], categories: list[dict[str, Any]]) -> Path:
    content = {
        "images": [{"id": 4, "height": 12, "width": 20, **image}],
        "categories": categories,
        "annotations": [
            {"id": 7 + number, "image_id": 4, "category_id": number, "segmentation": SQUARE}
            for number in (1, 2, 3)
            if number <= len(categories)
        ],
    }
    path = folder / "lvis.json"
    path.write_text(json.dumps(content))
    return path


def federated(**changes: Any) -> dict[str, Any]:
    return {"neg_category_ids": [3], "not_exhaustive_category_ids": [2], **changes}


V1 = federated(coco_url="http://images.cocodataset.org/val2017/000000000004.jpg")
V05 = federated(
    coco_url="http://images.cocodataset.org/val2017/000000000004.jpg",
    file_name="COCO_val2014_000000000004.jpg",
)
NAMES_ALONE = federated(file_name="COCO_val2014_000000000004.jpg")


@pytest.mark.parametrize("image", [V1, V05, NAMES_ALONE])
@pytest.mark.parametrize("place", ["val2017/000000000004.jpg", "000000000004.jpg"])
def test_finds_the_images_of_both_versions(
    tmp_path: Path, image: dict[str, Any], place: str
) -> None:
    images = tmp_path / "images"
    (images / place).parent.mkdir(parents=True)
    Image.new("RGB", (20, 12)).save(images / place)
    path = write(tmp_path, image, CATEGORIES)
    if image is NAMES_ALONE:
        images = (images / place).parent
    assert open_lvis(path, images).read(0).image.shape == (12, 20, 3)


def test_reads_frequencies_and_what_was_looked_for(tmp_path: Path) -> None:
    Image.new("RGB", (20, 12)).save(tmp_path / "000000000004.jpg")
    dataset = open_lvis(write(tmp_path, V1, CATEGORIES), tmp_path)
    sample = dataset.read(0)
    # The file's own word comes before its count of images.
    assert [one.frequency for one in sample.annotations] == ["rare", "frequent", "common"]
    assert [one.frequency for one in dataset.categories] == ["rare", "frequent", "common"]
    assert sample.labelling is not None
    assert sample.labelling.absent == {"cup"}
    assert sample.labelling.incomplete == {"bowl"}


@pytest.mark.parametrize(
    ("num_images", "frequency"),
    [(0, "rare"), (9, "rare"), (10, "common"), (99, "common"), (100, "frequent")],
)
def test_frequency_counts_training_images(num_images: int, frequency: str) -> None:
    assert frequency_of(num_images) == frequency


@pytest.mark.parametrize(
    ("image", "categories", "message"),
    [
        ({"file_name": "a.jpg"}, CATEGORIES, "no 'neg_category_ids'"),
        (federated(), CATEGORIES, "image 4 has neither 'coco_url' nor 'file_name'"),
        (V1, [{"id": 1, "name": "acorn"}], "no 'image_count'"),
        (V1, [{"id": 1, "name": "acorn", "frequency": "x"}], "no 'x'"),
        (V1, CATEGORIES[:2], "layout of instances .no 3"),
    ],
)
def test_says_what_is_missing(
    tmp_path: Path, image: dict[str, Any], categories: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_lvis(write(tmp_path, image, categories), tmp_path)


def test_what_a_file_holds_tells_its_layout(tmp_path: Path) -> None:
    path = write(tmp_path, V1, CATEGORIES)
    assert [one.frequency for one in open_instances(path, tmp_path).categories] == [
        "rare",
        "frequent",
        "common",
    ]
    path = write(tmp_path, {"file_name": "a.jpg"}, CATEGORIES)
    assert [one.frequency for one in open_instances(path, tmp_path).categories] == [None] * 3
    # Half of what makes it LVIS is refused, not taken for COCO's.
    path = write(tmp_path, {"file_name": "a.jpg", "neg_category_ids": [3]}, CATEGORIES)
    with pytest.raises(InputError, match="not_exhaustive_category_ids"):
        open_instances(path, tmp_path)
    with pytest.raises(InputError, match=r"none\.json"):
        open_instances(tmp_path / "none.json", tmp_path)
