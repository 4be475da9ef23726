from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segloop.data.sets.registry import open_set
from segloop.errors import InputError

Save = Callable[..., Path]


def test_nuclei_are_read_one_file_each(
    tmp_path: Path, save_picture: Save, make_disk: Callable[..., np.ndarray]
) -> None:
    disks = [make_disk((12, 16), center, 2) for center in ((3, 3), (10, 6))]
    save_picture("stage1_train/00ae/images/00ae.png", (12, 16))
    for number, disk in enumerate(disks):
        save_picture(f"stage1_train/00ae/masks/{number}.png", disk.astype(np.uint8) * 255)
    listed = open_set("BBBC038v1", tmp_path)
    sample = listed.read(0)
    assert (len(listed), sample.name, sample.image.shape) == (1, "00ae", (12, 16, 3))
    for annotation, disk in zip(sample.annotations, disks, strict=True):
        assert np.array_equal(annotation.mask(), disk)


def test_boulders_are_read(
    tmp_path: Path, save_picture: Save, make_disk: Callable[..., np.ndarray]
) -> None:
    disk = make_disk((12, 16), (8, 5), 3)
    picture = np.repeat(disk[..., None].astype(np.uint8) * 255, 3, axis=2)
    save_picture("Segmentation/DS1/DS/img/000001.png", (12, 16))
    save_picture("Segmentation/DS1/DS/mask/000001.png", picture)
    save_picture("Segmentation/DS2/DS/mask/000002.png", picture)
    listed = open_set("DOORS", tmp_path)
    assert [entry.name for entry in listed.entries] == ["000001"]
    (boulder,) = listed.read(0).annotations
    assert np.array_equal(boulder.mask(), disk)


def test_a_mask_without_image_or_of_another_size_is_refused(
    tmp_path: Path, save_picture: Save
) -> None:
    mask = np.full((12, 16), 255, dtype=np.uint8)
    save_picture("Segmentation/DS1/DS/mask/1.png", mask)
    with pytest.raises(InputError, match=r"^DOORS/1: annotated, but there is no image .*1\.png$"):
        open_set("DOORS", tmp_path)
    save_picture("Segmentation/DS1/DS/img/1.png", (16, 12))
    with pytest.raises(InputError, match=r"^DOORS/1: 1\.png is \(12, 16\) .* image is \(16, 12\)$"):
        open_set("DOORS", tmp_path).read(0)
