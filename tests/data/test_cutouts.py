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


def test_parts_of_a_drawing_are_what_is_seen_of_its_groups() -> None:
    cutout = cut_out_drawing(DRAWING, 200)
    assert cutout.pixels.shape == (80, 80, 4)
    (part,) = cutout.parts  # the other group is hidden
    rows, columns = np.nonzero(part)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 39, 20, 59)
    np.testing.assert_array_equal(cutout.pixels[30, 30], (0, 0, 255, 255))
    np.testing.assert_array_equal(cutout.pixels[5, 5], (255, 0, 0, 255))


def test_a_drawing_that_does_not_say_its_size_has_no_parts() -> None:
    """Rendered without its largest group it would have another size."""
    boundless = DRAWING.replace(b'viewBox="0 0 100 50"', b"").replace(
        b"</svg>", b'<g><rect x="0" y="0" width="300" height="10"/></g></svg>'
    )
    assert len(cut_out_drawing(boundless, 200).parts) == 0


@pytest.mark.parametrize("content", [b"<svg", b"<html/>", b"\x89PNG"])
def test_what_is_no_drawing_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(InputError, match="not a drawing that can be rendered"):
        cut_out_drawing(content, 100)


def test_pictures_without_transparency_or_damaged_are_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "a.svg").write_bytes(DRAWING)
    (tmp_path / "b.png").write_bytes(b"no picture")
    Image.new("RGB", (30, 30), "red").save(tmp_path / "in" / "c.png")
    Image.new("RGBA", (30, 30), (0, 0, 0, 0)).save(tmp_path / "in" / "d.png")
    source = PictureCutouts(tmp_path)
    assert len(source) == 4
    assert source.has_drawings
    found = [source.read(index) for index in range(4)]
    assert [one is not None for one in found] == [False] * 4
    (tmp_path / "e.svg").write_bytes(DRAWING.replace(b'width="40"', b'width="30"') + b"\n")
    pixels = np.zeros((40, 60, 4), dtype=np.uint8)
    pixels[10:20, 30:50] = 255
    pixels[5, 5] = 255
    Image.fromarray(pixels).save(tmp_path / "f.png")
    last = PictureCutouts(tmp_path).read(3)
    assert last is not None
    assert last.pixels.shape == (15, 45, 4)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no picture")
    with pytest.raises(InputError, match="holds no picture"):
        PictureCutouts(tmp_path)


def test_cut_outs_of_the_same_number_are_the_same(nested: SA1BDataset) -> None:
    first: Any = AnnotatedCutouts(nested).read(0)
    second: Any = AnnotatedCutouts(nested).read(0)
    np.testing.assert_array_equal(first.pixels, second.pixels)
