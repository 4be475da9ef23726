"""Pictures of labels beside images, drawn here and read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.data.label_folder import (
    NoLabelsError,
    is_black_and_white,
    objects_of,
    open_label_folder,
)
from segloop.errors import InputError

LABELS = np.array(
    [
        [0, 0, 7, 7, 0],
        [3, 0, 7, 7, 0],
        [3, 3, 0, 0, 0],
        [0, 0, 0, 0, 3],
    ],
    dtype=np.uint8,
)
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(name: str, pixels: np.ndarray | tuple[int, int]) -> Path:
        """A picture, or a plain image of a height and width."""
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(pixels, tuple):
            pixels = np.full((*pixels, 3), 90, dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return tmp_path

    return write


def test_every_label_is_an_object_with_its_box_and_area() -> None:
    three, seven = objects_of(LABELS.astype(np.int64) * 1000)
    assert np.array_equal(three.mask(), LABELS == 3)
    assert np.array_equal(seven.mask(), LABELS == 7)
    assert (three.area, three.bbox_xywh, three.id) == (4.0, (0.0, 1.0, 5.0, 3.0), 1)
    assert (seven.area, seven.bbox_xywh, seven.id) == (4.0, (2.0, 0.0, 2.0, 2.0), 2)


def test_a_map_without_background_is_all_objects() -> None:
    first, second = objects_of(np.array([[4, 4], [9, 9]]))
    assert (first.area, second.bbox_xywh) == (2.0, (0.0, 1.0, 2.0, 1.0))
    assert objects_of(np.zeros((2, 3), dtype=np.int64)) == ()


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("a.jpg", "a.png"),
        ("a.png", "a_mask.png"),
        ("deep/a.tif", "deep/a_labels.tif"),
        ("images/a.png", "masks/a.png"),
        ("imgs/deep/a.jpg", "labels/deep/a_mask.png"),
        ("train/images/a.jpg", "train/masks/a.png"),
    ],
)
def test_common_layouts_are_found(save: Save, image: str, labels: str) -> None:
    save(image, (4, 5))
    folder = save(labels, LABELS)
    listed = open_label_folder(folder, name="cells")
    assert [entry.name for entry in listed.entries] == [image.rpartition(".")[0]]
    assert listed.name == "cells"
    assert [one.area for one in listed.read(0).annotations] == [4.0, 4.0]
    assert listed.entries[0].truth.count() == 2


def test_connected_parts_of_black_and_white_pictures_are_the_objects(save: Save) -> None:
    save("a.jpg", (4, 5))
    folder = save("a.png", np.where(LABELS > 0, 255, 0).astype(np.uint8))
    # Label 7 and the upper part of 3 touch at a corner; the lower part stands alone.
    assert [one.area for one in open_label_folder(folder).read(0).annotations] == [7.0, 1.0]
    (whole,) = open_label_folder(folder, reading="ids").read(0).annotations
    assert whole.area == 8.0


def test_one_picture_with_two_labels_makes_all_of_them_labels(save: Save) -> None:
    for name, labels in (("a", np.where(LABELS == 3, 3, 0).astype(np.uint8)), ("b", LABELS)):
        save(f"{name}.jpg", (4, 5))
        folder = save(f"{name}.png", labels)
    assert len(open_label_folder(folder).read(0).annotations) == 1
    assert len(open_label_folder(folder, reading="binary").read(0).annotations) == 2


def test_white_with_smooth_edges_is_white() -> None:
    smooth = np.zeros((20, 20), dtype=np.int64)
    smooth[3:15, 3:15] = 255
    smooth[3, 3:15] = 120
    smooth[14, 3:15] = 60
    assert is_black_and_white(smooth)
    smooth[3:15, 3:9] = 7
    assert not is_black_and_white(smooth)


@pytest.mark.parametrize("num_channels", [3, 4])
def test_black_and_white_saved_in_colour_is_black_and_white(save: Save, num_channels: int) -> None:
    """With smooth edges, whose greys are no labels."""
    pixels = np.zeros((20, 30, num_channels), dtype=np.uint8)
    pixels[3:15, 3:13, :3], pixels[3:15, 17:27, :3] = 255, 255
    pixels[3, 3:13, :3], pixels[14, 17:27, :3] = 120, 200
    pixels[..., 3:] = 255
    save("a.jpg", (20, 30))
    annotations = open_label_folder(save("a.png", pixels)).read(0).annotations
    assert sorted(one.bbox_xywh[0] for one in annotations) == [3.0, 17.0]
    pixels[5:8, 5:8, 0] = 40
    coded = open_label_folder(save("a.png", pixels)).read(0).annotations
    assert len(coded) > 2, "with a colour in it the numbers are labels"


def test_images_without_labels_are_left_out(save: Save) -> None:
    save("images/a.jpg", (4, 5))
    save("images/b.jpg", (4, 5))
    folder = save("masks/a.png", LABELS)
    assert len(open_label_folder(folder)) == 1


def test_a_picture_of_another_size_is_named(save: Save) -> None:
    save("a.jpg", (4, 4))
    folder = save("a.png", LABELS)
    with pytest.raises(InputError, match=r"a: a\.png is \(4, 5\) \(height, width\), the image is"):
        open_label_folder(folder).read(0)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("images/a.jpg", "masks/b.png"), r"b\.png: labels without an image: there is no .*b\.jpg"),
        (("a_mask.png",), r"a_mask\.png: labels without an image"),
        (("images/a.jpg", "masks/a.jpg"), "labels do not survive as .jpg; save them as PNG"),
    ],
)
def test_what_does_not_belong_together_is_named(
    save: Save, files: tuple[str, ...], message: str
) -> None:
    for name in files:
        folder = save(name, LABELS)
    with pytest.raises(InputError, match=message):
        open_label_folder(folder)


def test_all_labels_that_do_not_belong_are_named_at_once(save: Save) -> None:
    save("images/a.png", LABELS)
    for name in ("a.png", "b.png", "c.png", "d.jpg"):
        folder = save(f"masks/{name}", LABELS)
    with pytest.raises(
        InputError, match=r"^3 files cannot be used: .*b\.png: .*c\.png: .*d\.jpg: "
    ):
        open_label_folder(folder)


def test_a_picture_that_cannot_be_read_is_named_with_its_sample(save: Save) -> None:
    for name in ("a", "b"):
        save(f"{name}.jpg", (4, 5))
        folder = save(f"{name}.png", LABELS)
    (folder / "a.png").write_bytes(b"torn")
    listed = open_label_folder(folder)
    with pytest.raises(InputError, match=r"/a: .*a\.png"):
        listed.read(0)
    assert len(listed.read(1).annotations) == 2, "the other pictures say what labels are"


def test_a_folder_without_labels_is_refused(save: Save) -> None:
    folder = save("a.jpg", (4, 5))
    with pytest.raises(NoLabelsError, match="no image with labels"):
        open_label_folder(folder)
    with pytest.raises(InputError, match="auto, ids or binary, got 'colours'"):
        open_label_folder(folder, reading="colours")  # type: ignore[arg-type]
