from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segloop.data.sets.ade20k import object_label
from segloop.data.sets.label_maps import Label
from segloop.data.sets.registry import open_set
from segloop.errors import InputError

Save = Callable[..., Path]
PLACE = "ADE20K_2021_17_01/images/ADE/validation/urban/street"


def test_objects_and_parts_are_masks(tmp_path: Path, save_picture: Save) -> None:
    objects = np.zeros((3, 4, 3), dtype=np.uint8)
    objects[0, :2] = (10, 20, 1)
    objects[0, 2:] = (10, 20, 2)
    objects[2] = (10, 20, 0)
    parts = np.zeros((3, 4, 3), dtype=np.uint8)
    parts[0, 0] = (30, 5, 9)
    save_picture(f"{PLACE}/ADE_val_00000001.jpg", (3, 4))
    save_picture(f"{PLACE}/ADE_val_00000001_seg.png", objects)
    save_picture(f"{PLACE}/ADE_val_00000001_parts_1.png", parts)
    listed = open_set("ADE20K", tmp_path)
    sample = listed.read(0)
    assert sample.name == "urban/street/ADE_val_00000001"
    first, second, part = sample.annotations
    assert np.array_equal(first.mask(), objects[..., 2] == 1)
    assert np.array_equal(second.mask(), objects[..., 2] == 2)
    assert np.array_equal(part.mask(), parts[..., 2] == 9)
    assert first.category == second.category == "276"
    assert listed.entries[0].truth.count() == 3


def test_classes_are_told_by_red_and_green() -> None:
    assert object_label(10 + 256 * 20 + 65536 * 3) == Label("276")
    assert object_label(10 + 256 * 20) is None


def test_parts_of_another_size_are_refused(tmp_path: Path, save_picture: Save) -> None:
    labels = np.full((3, 4, 3), 10, dtype=np.uint8)
    save_picture(f"{PLACE}/ADE_val_00000001.jpg", (3, 4))
    save_picture(f"{PLACE}/ADE_val_00000001_seg.png", labels)
    save_picture(f"{PLACE}/ADE_val_00000001_parts_1.png", labels[:2])
    with pytest.raises(InputError, match=r"parts_1\.png is \(2, 4\)"):
        open_set("ADE20K", tmp_path).read(0)
