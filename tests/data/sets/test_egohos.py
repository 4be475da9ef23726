from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segloop.data.sets.egohos import hand_or_object, is_of_ego4d_or_thu_read
from segloop.data.sets.label_maps import Label
from segloop.data.sets.registry import open_set
from segloop.errors import InputError

Save = Callable[..., Path]
LABELS = np.array([[0, 1, 1], [2, 5, 8]], dtype=np.uint8)


def test_hands_and_objects_are_read(tmp_path: Path, save_picture: Save) -> None:
    for name in ("ego4d_0a02a1ed_11700", "epic_1"):
        save_picture(f"egohos/train/image/{name}.jpg", LABELS.shape)
        save_picture(f"egohos/train/label/{name}.png", LABELS)
    listed = open_set("EgoHOS", tmp_path)
    (sample,) = (listed.read(index) for index in range(len(listed)))
    assert sample.name == "train/image/ego4d_0a02a1ed_11700"
    assert [annotation.category for annotation in sample.annotations] == [
        "left hand",
        "right hand",
        "object of both hands",
        "second object of both hands",
    ]
    assert np.array_equal(sample.annotations[0].mask(), LABELS == 1)


def test_labels_and_names() -> None:
    assert hand_or_object(3) == Label("object of the left hand")
    assert hand_or_object(0) is hand_or_object(9) is None
    assert is_of_ego4d_or_thu_read("THU_00012")
    assert not is_of_ego4d_or_thu_read("epic_kitchens_3")


def test_labels_without_image_are_refused(tmp_path: Path, save_picture: Save) -> None:
    save_picture("train/label/ego4d_1.png", LABELS)
    (tmp_path / "train" / "image").mkdir()
    with pytest.raises(InputError, match="annotated, but there is no image"):
        open_set("EgoHOS", tmp_path)
