from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segloop.data.sets.cityscapes import panoptic_label
from segloop.data.sets.label_maps import Label
from segloop.data.sets.registry import open_set
from segloop.errors import InputError

Save = Callable[..., Path]
NAME = "frankfurt_000000_000294"


def test_segments_of_things_and_stuff_are_read(tmp_path: Path, save_picture: Save) -> None:
    # Two cars, a crowd of persons, road, and what is void: the car's own hood.
    labels = np.array([[26000, 26001, 24, 7], [1, 26001, 24, 7]], dtype=np.uint16)
    save_picture(f"leftImg8bit/val/frankfurt/{NAME}_leftImg8bit.png", (2, 4))
    save_picture(f"gtFine/val/frankfurt/{NAME}_gtFine_instanceIds.png", labels)
    listed = open_set("Cityscapes", tmp_path)
    sample = listed.read(0)
    found = {
        (annotation.category, annotation.is_crowd): annotation.mask()
        for annotation in sample.annotations
    }
    assert sample.name == f"frankfurt/{NAME}"
    assert len(sample.annotations) == 4
    assert [annotation.category for annotation in sample.annotations].count("car") == 2
    assert np.array_equal(found["road", False], labels == 7)
    assert np.array_equal(found["person", True], labels == 24)
    assert listed.entries[0].truth.count() == 3


def test_labels_are_those_of_the_panoptic_task() -> None:
    assert panoptic_label(11) == Label("building")
    assert panoptic_label(33007) == Label("bicycle")
    assert panoptic_label(33) == Label("bicycle", is_crowd=True)
    # Out of the region of interest, a bridge, a caravan.
    assert panoptic_label(3) is panoptic_label(15) is panoptic_label(29000) is None


def test_labels_without_image_are_refused(tmp_path: Path, save_picture: Save) -> None:
    labels = np.full((2, 4), 7, dtype=np.uint16)
    save_picture(f"gtFine/val/frankfurt/{NAME}_gtFine_instanceIds.png", labels)
    (tmp_path / "leftImg8bit" / "val").mkdir(parents=True)
    with pytest.raises(InputError, match="annotated, but there is no image"):
        open_set("Cityscapes", tmp_path)
