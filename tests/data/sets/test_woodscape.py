from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segloop.data.sets.registry import open_set
from segloop.errors import InputError

Save = Callable[..., Path]
SQUARE = [[4, 3], [14, 3], [14, 9], [4, 9]]


def content(**changes: Any) -> dict[str, Any]:
    record = {
        "image_height": 20,
        "image_width": 30,
        "annotation": [
            {"id": "a", "tags": ["car"], "segmentation": SQUARE},
            {"id": "b", "tags": ["void"], "segmentation": SQUARE},
        ],
    }
    return {"00000_FV.json": {**record, **changes}}


def test_polygons_are_read_and_void_left_out(
    tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    save_json("instance_annotations/00000_FV.json", content())
    save_picture("rgb_images/00000_FV.png", (20, 30))
    sample = open_set("WoodScape", tmp_path).read(0)
    (car,) = sample.annotations
    expected = np.zeros((20, 30), dtype=np.bool_)
    expected[3:9, 4:14] = True
    assert (sample.name, car.category) == ("00000_FV", "car")
    assert np.array_equal(car.mask(), expected)


def test_a_missing_image_and_one_of_another_size_are_refused(
    tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    save_json("instance_annotations/00000_FV.json", content())
    (tmp_path / "rgb_images").mkdir()
    with pytest.raises(InputError, match="annotated, but there is no image"):
        open_set("WoodScape", tmp_path)
    save_picture("rgb_images/00000_FV.png", (30, 20))
    with pytest.raises(InputError, match=r"is for an image of \(20, 30\)"):
        open_set("WoodScape", tmp_path).read(0)


@pytest.mark.parametrize("wrong", [{}, [], content(annotation=[{"tags": []}])])
def test_what_is_not_in_this_layout_is_refused(
    wrong: Any, tmp_path: Path, save_json: Save, save_picture: Save
) -> None:
    save_json("instance_annotations/00000_FV.json", wrong)
    save_picture("rgb_images/00000_FV.png", (20, 30))
    with pytest.raises(
        InputError, match=r"^WoodScape/00000_FV: .*00000_FV\.json is not in WoodScape's layout"
    ):
        open_set("WoodScape", tmp_path)
