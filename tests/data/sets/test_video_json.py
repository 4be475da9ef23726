from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segloop.data.sets.registry import open_set
from segloop.errors import InputError
from segloop.geometry.rle import encode_rle

Save = Callable[..., Path]
FRAMES = ("2592056f/img_0000001.jpg", "2592056f/img_0000002.jpg", "2592056f/img_0000003.jpg")


def fish() -> np.ndarray[Any, np.dtype[np.bool_]]:
    mask = np.zeros((20, 30), dtype=np.bool_)
    mask[2:8, 5:9] = True
    return mask


def content(**changes: Any) -> dict[str, Any]:
    """A fish in the first and the last of three frames, a crowd of fish in the last."""
    shape = encode_rle(fish()).to_json()
    record = {
        "categories": [{"id": 1, "name": "fish"}],
        "videos": [{"id": 9, "height": 20, "width": 30, "file_names": list(FRAMES)}],
        "annotations": [
            {"id": 1, "video_id": 9, "category_id": 1, "segmentations": [shape, None, shape]},
            {
                "id": 2,
                "video_id": 9,
                "category_id": 1,
                "iscrowd": 1,
                "segmentations": [None, None, [[0, 0, 4, 0, 4, 4]]],
            },
        ],
    }
    return {**record, **changes}


def test_frames_that_show_an_object_are_samples(
    tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    save_json("annotations_train.json", content())
    for frame in (FRAMES[0], FRAMES[2]):
        save_picture(f"train/{frame}", (20, 30))
    listed = open_set("OVIS", tmp_path)
    first, last = (listed.read(index) for index in range(len(listed)))
    assert (first.name, last.name) == ("2592056f/img_0000001", "2592056f/img_0000003")
    (alone,) = first.annotations
    assert np.array_equal(alone.mask(), fish())
    assert [annotation.is_crowd for annotation in last.annotations] == [False, True]
    assert alone.category == "fish"


def test_a_frame_that_is_missing_is_refused(
    tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    save_json("annotations_train.json", content())
    save_picture(f"train/{FRAMES[0]}", (20, 30))
    with pytest.raises(InputError, match=r"^OVIS/2592056f/img_0000003: annotated, but there is no"):
        open_set("OVIS", tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (content(videos=[]), "annotation 1 is of video 9, which is not listed"),
        (content(categories=[]), "is not in YouTube-VIS's layout"),
        ([], "is not in YouTube-VIS's layout"),
        (
            content(videos=[{"id": 9, "height": 20, "width": 30, "file_names": ["a.jpg"]}]),
            "is not in YouTube-VIS's layout",
        ),
    ],
)
def test_what_is_not_in_this_layout_is_refused(
    wrong: Any, message: str, tmp_path: Path, save_json: Save
) -> None:
    (tmp_path / "train").mkdir()
    save_json("annotations_train.json", wrong)
    with pytest.raises(InputError, match=message):
        open_set("OVIS", tmp_path)
