from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.data.drawings import render_drawing
from segloop.errors import InputError

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
# A red square of 40 x 40 with a blue part of 20 x 10, and a green one hidden behind it.
BODY = """<g style="display:inline"><rect x="15" y="10" width="5" height="5" fill="lime"/></g>
<rect x="10" y="5" width="40" height="40" fill="red"/>
<g><rect x="20" y="15" width="20" height="10" fill="blue"/></g>"""


def drawing(size: str, body: str = BODY) -> bytes:
    return f"{HEAD} {size}>{body}</svg>".encode()


def test_parts_are_what_is_seen_of_groups() -> None:
    pixels, parts = render_drawing(drawing('viewBox="0 0 100 50"'), 200)
    assert pixels.shape == (100, 200, 4)
    (part,) = parts  # the other group is hidden
    rows, columns = np.nonzero(part)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 49, 40, 79)
    np.testing.assert_array_equal(pixels[40, 60], (0, 0, 255, 255))
    np.testing.assert_array_equal(pixels[15, 30], (255, 0, 0, 255))
    assert pixels[50, 150, 3] == 0


@pytest.mark.parametrize(
    "size",
    [
        'width="100" height="50"',
        'width="100px" height="50px"',
        'width="210mm" height="105mm" viewBox="0 0 100 50"',
        'width="21cm" height="10.5cm" viewBox="0,0 100,50"',
        'width="10in" height="5in" viewBox="0 0 100 50"',
        'width="100%" height="100%" viewBox="0 0 100 50"',
        'width="75pt" height="37.5pt"',
        'width="6.25pc" height="3.125pc"',
    ],
)
def test_sizes_in_any_unit_give_the_same_picture(size: str) -> None:
    expected, _ = render_drawing(drawing('viewBox="0 0 100 50"'), 200)
    found, parts = render_drawing(drawing(size), 200)
    np.testing.assert_array_equal(found, expected)
    assert len(parts) == 1


def test_a_long_side_is_the_one_asked_for() -> None:
    """The renderer scales by width and height, whatever the view says."""
    pixels, _ = render_drawing(drawing('width="10" height="100" viewBox="0 0 100 10"'), 120)
    assert pixels.shape == (120, 12, 4)


def test_lengths_within_have_units_too() -> None:
    body = '<rect width="10mm" height="10mm" fill="red"/>'
    pixels, _ = render_drawing(drawing('width="20mm" height="20mm"', body), 100)
    assert pixels[..., 3].mean() == pytest.approx(255 / 4, rel=0.03)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<svg", "unclosed token"),
        (b"<html/>", "its root is no svg element"),
        (b"\x89PNG", "not well-formed"),
        (b'<?xml version="1.0" encoding="bogus"?><svg/>', "unknown encoding"),
        (drawing(""), "does not say how large it is"),
        (drawing('width="0" height="5"'), "a size of 0 x 5"),
        (drawing('viewBox="0 0 100"'), "not enough values"),
        (drawing('viewBox="0 0 nan 5"'), "a size of nan x 5"),
        (drawing('width="1" height="4000" viewBox="0 0 100 10"'), "one side more than 20 times"),
        (drawing('viewBox="0 0 9 9"', "<g>" * 150 + "</g>" * 150), "more than 100 deep"),
        (drawing('viewBox="0 0 9 9"', "<g>" * 3000 + "</g>" * 3000), "more than 100 deep"),
    ],
)
def test_what_cannot_be_drawn_is_said_to_be_so(content: bytes, why: str) -> None:
    with pytest.raises(InputError, match=f"not a drawing that can be rendered.*{why}"):
        render_drawing(content, 100)


@pytest.mark.parametrize("name", ["href", "xlink:href"])
def test_pictures_of_other_files_are_not_read(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "blue").save(tmp_path / "secret.png")
    body = f'<g><image width="20" height="20" {name}="{tmp_path}/secret.png"/></g>' + BODY
    pixels, _ = render_drawing(drawing('viewBox="0 0 100 50"', body), 100)
    expected, _ = render_drawing(drawing('viewBox="0 0 100 50"'), 100)
    np.testing.assert_array_equal(pixels, expected)
