from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segloop.data.sets.coco_json import coco_2017_name, open_coco
from segloop.data.sets.listed import ListedSet
from segloop.data.sets.registry import open_set
from segloop.errors import InputError
from segloop.geometry.rle import encode_rle

Save = Callable[..., Path]

# Each set of this layout: where its annotations lie, where its images do, the name of one in the JSON and on the disk.
LAYOUTS = {
    "LVIS": ("lvis_v0.5_val.json", "val2017", "COCO_val2014_000000000042.jpg", "000000000042.jpg"),
    "TimberSeg": ("prescaled/coco_annotation.json", "prescaled", "1.png", "1.png"),
    "ZeroWaste-f": (
        "splits_final_deblurred/train/labels.json",
        "splits_final_deblurred/train/data",
        "01_frame_000010.PNG",
        "01_frame_000010.PNG",
    ),
    "NDISPark": ("train/train_coco_annotations.json", "train/imgs", "60_1.jpg", "60_1.jpg"),
    "PIDRay": ("annotations/xray_test_hard.json", "hard", "xray_1.png", "xray_1.png"),
    "TrashCan": (
        "instance_version/instances_train_trashcan.json",
        "instance_version/train",
        "vid_1_frame2.jpg",
        "vid_1_frame2.jpg",
    ),
}


def crowd() -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[10:, :4] = True
    return mask


def content(file_name: str = "a.jpg", **changes: Any) -> dict[str, Any]:
    """An image of 20 x 30 with a polygon and a crowd, and one without annotation."""
    record = {
        "categories": [{"id": 7, "name": "log"}],
        "images": [
            {"id": 5, "file_name": file_name, "height": 20, "width": 30},
            {"id": 6, "file_name": "empty.jpg", "height": 20, "width": 30},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 5,
                "category_id": 7,
                "segmentation": [[4, 3, 14, 3, 14, 9, 4, 9]],
                "iscrowd": 0,
            },
            {
                "id": 2,
                "image_id": 5,
                "category_id": 7,
                "segmentation": encode_rle(crowd()).to_json(),
                "iscrowd": 1,
            },
        ],
    }
    return {**record, **changes}


def check(listed: ListedSet) -> None:
    """The masks of content(), to the pixel."""
    (sample,) = [listed.read(index) for index in range(len(listed))]
    log, logs = sample.annotations
    expected = np.zeros((20, 30), dtype=np.bool_)
    expected[3:9, 4:14] = True
    assert sample.image.shape == (20, 30, 3)
    assert np.array_equal(log.mask(), expected)
    assert (log.category, log.is_crowd) == ("log", False)
    assert np.array_equal(logs.mask(), crowd())
    assert logs.is_crowd


@pytest.mark.parametrize("name", LAYOUTS)
def test_sets_are_read_as_they_were_unpacked(
    name: str, tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    annotations, images, json_name, file_name = LAYOUTS[name]
    save_json(annotations, content(json_name))
    save_picture(f"{images}/{file_name}", (20, 30))
    check(open_set(name, tmp_path))


def test_plittersdorf_is_read_with_all_its_splits(
    tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    for split in ("train", "val", "test"):
        save_json(f"coco/{split}.json", content(f"{split}.jpg"))
        save_picture(f"coco/images/{split}.jpg", (20, 30))
    listed = open_set("Plittersdorf", tmp_path)
    assert [listed.read(index).name for index in range(3)] == ["train", "val", "test"]


def open_here(folder: Path) -> ListedSet:
    return open_coco(folder, name="Logs", annotations=("a.json",), images="images")


def test_an_annotation_without_image_is_refused(
    tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    (tmp_path / "images").mkdir()
    save_json("a.json", content())
    with pytest.raises(InputError, match=r"^Logs/a: annotated, but there is no image .*a\.jpg$"):
        open_here(tmp_path)
    save_picture("images/a.jpg", (20, 30))
    save_json("a.json", content(images=[]))
    with pytest.raises(InputError, match=r"annotation 1 is of image 5, which is not listed$"):
        open_here(tmp_path)


def test_an_image_of_another_size_is_refused(
    tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    save_json("a.json", content())
    save_picture("images/a.jpg", (30, 20))
    with pytest.raises(InputError, match=r"^Logs/a: its annotation is for an image of \(20, 30\)"):
        open_here(tmp_path).read(0)


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"images": []},
        content(categories=[]),
        content(annotations=[{"id": 1}]),
        content(
            annotations=[{"id": 1, "image_id": 5, "category_id": 7, "segmentation": [[1, 2, 3]]}]
        ),
    ],
)
def test_what_is_not_in_this_layout_is_refused(
    wrong: Any, tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    save_picture("images/a.jpg", (20, 30))
    save_json("a.json", wrong)
    with pytest.raises(InputError, match=r"a\.json is not in COCO's layout of instances"):
        open_here(tmp_path)


def test_names_of_2014_are_found_in_the_folders_of_2017() -> None:
    assert coco_2017_name("COCO_val2014_000000000042.jpg") == "000000000042.jpg"
    assert coco_2017_name("000000000042.jpg") == "000000000042.jpg"
