"""YOLO's layout of outlines, written here by hand and read back."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.data.yolo import find_labels, open_yolo
from segloop.errors import InputError

# In an image of 10 rows and 20 columns: columns 4 to 11, rows 2 to 6; and a triangle.
SQUARE = "0 0.2 0.2 0.6 0.2 0.6 0.7 0.2 0.7"
TRIANGLE = "2 0.5 0.1 0.9 0.9 0.1 0.9"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_image(name: str, lines: str, part: str = "") -> Path:
        image = tmp_path / part / "images" / f"{name}.jpg"
        labels = tmp_path / part / "labels" / f"{name}.txt"
        for path in (image, labels):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (90, 40, 10)).save(image)
        labels.write_text(lines)
        return tmp_path

    return write_image


def test_outlines_become_masks_of_the_image(write: Write) -> None:
    listed = open_yolo(write("a", f"{SQUARE}\n\n{TRIANGLE}\n"))
    sample = listed.read(0)
    square, triangle = sample.annotations
    expected = np.zeros((10, 20), dtype=np.bool_)
    expected[2:7, 4:12] = True
    assert np.array_equal(square.mask(), expected)
    assert (square.area, square.bbox_xywh) == (40.0, (4.0, 2.0, 8.0, 5.0))
    assert [square.category, triangle.category] == ["0", "2"]
    assert [square.id, triangle.id] == [1, 2]
    assert 40 < triangle.area < 80
    assert listed.entries[0].truth.count() == 2


def test_names_of_classes_come_from_data_yaml(write: Write) -> None:
    folder = write("a", f"{SQUARE}\n{TRIANGLE}")
    (folder / "data.yaml").write_text("names: [cell, debris, vessel]\n")
    assert [one.category for one in open_yolo(folder).read(0).annotations] == ["cell", "vessel"]
    (folder / "data.yaml").write_text("path: .\nnames:\n  0: cell\n  2: vessel\n")
    named = open_yolo(folder / "data.yaml")
    assert [one.category for one in named.read(0).annotations] == ["cell", "vessel"]


def test_all_parts_are_read_and_images_without_labels_left_out(
    write: Write, tmp_path: Path
) -> None:
    write("a", SQUARE, "train")
    write("deep/b", "", "val")
    Image.new("RGB", (20, 10)).save(tmp_path / "train" / "images" / "unlabelled.jpg")
    (tmp_path / "train" / "labels" / "classes.txt").write_text("cell\n")
    listed = open_yolo(tmp_path)
    assert [entry.name for entry in listed.entries] == ["train/images/a", "val/images/deep/b"]
    assert listed.read(1).annotations == ()
    assert len(find_labels(tmp_path)) == 2


def test_a_set_can_be_sent_to_another_process(write: Write) -> None:
    listed = pickle.loads(pickle.dumps(open_yolo(write("a", SQUARE))))
    assert len(listed.read(0).annotations) == 1


def test_corners_rounded_over_the_border_are_cut_off(write: Write) -> None:
    (one,) = open_yolo(write("a", "1 -0.001 0 1.002 0 1.002 1.001 0 1")).read(0).annotations
    assert one.mask().all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2 0.2", "line 2: a box, not an outline"),
        ("0 0.5 0.5 0.2", "line 2: an outline is three or more pairs x y, got 3 numbers"),
        ("0 0.5 0.5 0.2 0.2 0.1 0.1 0.3", "got 7 numbers"),
        ("0 5 5 20 5 20 20", "line 2: an outline larger than the image"),
        ("0 nan 0.5 0.2 0.2 0.1 0.1", "an outline larger than the image"),
        ("cell 0.5 0.5 0.2 0.2 0.1 0.1", "line 2: expected a class number"),
        ("1.5 0.5 0.5 0.2 0.2 0.1 0.1", "a class is a whole number from 0 on, got 1.5"),
    ],
)
def test_a_line_that_is_no_outline_is_named(write: Write, line: str, message: str) -> None:
    listed = open_yolo(write("a", f"{SQUARE}\n{line}"))
    with pytest.raises(InputError, match=message) as caught:
        listed.read(0)
    assert "a.txt" in str(caught.value)


def test_a_class_that_data_yaml_lacks_is_named(write: Write) -> None:
    folder = write("a", TRIANGLE)
    (folder / "data.yaml").write_text("names: [cell, debris]\n")
    with pytest.raises(InputError, match=r"line 1: class 2 is missing among the names"):
        open_yolo(folder).read(0)


def test_labels_without_an_image_are_refused(write: Write) -> None:
    folder = write("a", SQUARE)
    (folder / "images" / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"a\.txt: labels without an image: there is no .*a\.jpg"):
        open_yolo(folder)


def test_what_cannot_be_read_is_one_line(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="YOLO layout"):
        open_yolo(tmp_path)
    folder = write("a", SQUARE)
    (folder / "labels" / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read the labels"):
        open_yolo(folder).read(0)
    (folder / "data.yaml").write_text("names: [cell\n")
    with pytest.raises(InputError, match=r"cannot read .*data\.yaml") as caught:
        open_yolo(folder)
    assert "\n" not in str(caught.value)
