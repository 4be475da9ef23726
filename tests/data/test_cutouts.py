from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segloop.data.cutouts import (
    AnnotatedCutouts,
    PictureCutouts,
    cut_out,
    cut_out_drawing,
    cut_out_picture,
)
from segloop.data.sa1b import SA1BDataset, open_sa1b
from segloop.errors import InputError

Files = dict[str, bytes]
# A red square 60 x 60 with a blue one of 20 x 20 in it and a green one hidden behind it.
DRAWING = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50">
<g style="display:inline"><rect x="15" y="10" width="5" height="5" fill="lime"/></g>
<rect x="10" y="5" width="40" height="40" fill="red"/>
<g><rect x="20" y="15" width="20" height="10" fill="blue"/></g>
</svg>"""


@pytest.fixture
def nested(paint_files: Callable[..., Files], write_tar: Callable[..., Path]) -> SA1BDataset:
    """A thing of 60 x 50 with a part of 20 x 20, one that touches the border, and one too small."""
    boxes = [(10, 20, 70, 70), (20, 30, 40, 50), (80, 0, 160, 70), (165, 80, 170, 85)]
    return open_sa1b(write_tar(paint_files("a", 100, 200, boxes)))


def test_a_thing_is_cut_out_with_what_lies_inside_it(nested: SA1BDataset) -> None:
    source = AnnotatedCutouts(nested)
    assert len(source) == 1
    cutout = source.read(0)
    assert cutout is not None
    assert cutout.pixels.shape == (50, 60, 4)
    assert cutout.pixels[25, 50, 3] == 255
    assert 0 < cutout.pixels[0, 30, 3] < 255  # a soft edge
    (part,) = cutout.parts
    assert part.sum() == 400
    assert part[10:30, 10:30].all()


def test_what_touches_the_border_is_small_or_a_crowd_is_left(
    paint_files: Callable[..., Files], write_tar: Callable[..., Path]
) -> None:
    boxes = [(0, 20, 70, 70), (100, 30, 120, 50)]
    crowd = paint_files("b", 100, 200, [(10, 10, 90, 90)], iscrowd=1)
    dataset = open_sa1b(write_tar({**paint_files("a", 100, 200, boxes), **crowd}))
    assert len(AnnotatedCutouts(dataset)) == 0
    assert len(AnnotatedCutouts(dataset, least_side=20)) == 1


def test_every_thing_of_an_image_is_one(
    paint_files: Callable[..., Files], write_tar: Callable[..., Path]
) -> None:
    boxes = [(10, 20, 70, 70), (100, 30, 150, 90), (10, 75, 90, 95)]
    source = AnnotatedCutouts(open_sa1b(write_tar(paint_files("a", 100, 200, boxes))))
    sizes = [cutout.pixels.shape[:2] for index in range(3) if (cutout := source.read(index))]
    assert (len(source), sizes) == (3, [(50, 60), (60, 50), (20, 80)])


def test_a_thing_of_a_damaged_image_is_of_no_use(
    paint_files: Callable[..., Files], write_tar: Callable[..., Path]
) -> None:
    files = paint_files("a", 100, 200, [(10, 20, 70, 70)])
    damaged = {name: one if name.endswith(".json") else one[:50] for name, one in files.items()}
    source = AnnotatedCutouts(open_sa1b(write_tar(damaged)))
    assert [source.read(index) for index in range(len(source))] == [None]


def test_an_empty_annotation_cannot_be_cut_out(nested: SA1BDataset) -> None:
    from dataclasses import replace

    from segloop.geometry.rle import encode_rle

    sample = nested.read(0)
    empty = replace(sample.annotations[0], rle=encode_rle(np.zeros((100, 200), dtype=np.bool_)))
    with pytest.raises(InputError, match="a: annotation 1 is empty"):
        cut_out(sample, empty)


def test_a_picture_is_cropped_to_what_is_seen_of_it(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 4), dtype=np.uint8)
    pixels[10:20, 30:50] = (200, 100, 50, 255)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    cutout = cut_out_picture(tmp_path / "one.png")
    assert cutout.pixels.shape == (10, 20, 4)
    assert cutout.parts.shape == (0, 10, 20)
    assert (cutout.pixels == (200, 100, 50, 255)).all()


def test_a_drawing_is_cropped_with_its_parts(tmp_path: Path) -> None:
    (tmp_path / "one.svg").write_bytes(DRAWING)
    cutout = cut_out_drawing(tmp_path / "one.svg", 200)
    assert cutout.pixels.shape == (80, 80, 4)
    (part,) = cutout.parts
    rows, columns = np.nonzero(part)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 39, 20, 59)
    np.testing.assert_array_equal(cutout.pixels[30, 30], (0, 0, 255, 255))


def test_why_a_file_is_of_no_use_is_said_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "one.svg").write_bytes(b"<html/>")
    with pytest.raises(InputError, match=r"one\.svg: not a drawing"):
        cut_out_drawing(tmp_path / "one.svg", 200)
    Image.new("RGB", (30, 30), "red").save(tmp_path / "full.png")
    with pytest.raises(InputError, match=r"full\.png: it fills its frame"):
        cut_out_picture(tmp_path / "full.png")
    Image.new("RGBA", (30, 30), (9, 9, 9, 40)).save(tmp_path / "faint.png")
    with pytest.raises(InputError, match=r"faint\.png: it is all but empty"):
        cut_out_picture(tmp_path / "faint.png")


def test_pictures_without_transparency_or_damaged_are_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    full = DRAWING.replace(b"<rect x", b'<rect width="100" height="50" fill="red"/><rect x', 1)
    (tmp_path / "a.svg").write_bytes(full)
    (tmp_path / "b.png").write_bytes(b"no picture")
    Image.new("RGB", (30, 30), "red").save(tmp_path / "in" / "c.png")
    Image.new("RGBA", (30, 30), (0, 0, 0, 0)).save(tmp_path / "in" / "d.png")
    (tmp_path / "e.svg").write_bytes(DRAWING)
    pixels = np.zeros((40, 60, 4), dtype=np.uint8)
    pixels[10:20, 30:50] = 255
    Image.fromarray(pixels).save(tmp_path / "f.png")
    source = PictureCutouts(tmp_path)
    assert source.names == ("a.svg", "b.png", "e.svg", "f.png", "in/c.png", "in/d.png")
    assert source.has_drawings
    found = [source.read(index) for index in range(len(source))]
    assert [one is not None for one in found] == [False, False, True, True, False, False]
    assert found[3] is not None
    assert found[3].pixels.shape == (10, 20, 4)  # a thing that fills its own box is one


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no picture")
    with pytest.raises(InputError, match="holds no picture"):
        PictureCutouts(tmp_path)


def test_cut_outs_of_the_same_number_are_the_same(nested: SA1BDataset) -> None:
    first: Any = AnnotatedCutouts(nested).read(0)
    second: Any = AnnotatedCutouts(nested).read(0)
    np.testing.assert_array_equal(first.pixels, second.pixels)
