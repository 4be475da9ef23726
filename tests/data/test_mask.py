from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.data.mask import load_mask
from segloop.errors import ImageError

MASK = np.zeros((20, 30), dtype=bool)
MASK[5:12, 8:25] = True


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("255.png", Image.fromarray(MASK.astype(np.uint8) * 255)),
        ("1.png", Image.fromarray(MASK.astype(np.uint8))),
        ("bits.png", Image.fromarray(MASK)),
        ("rgb.png", Image.fromarray(np.dstack([MASK.astype(np.uint8) * 200] * 3))),
        ("wide.png", Image.fromarray(MASK.astype(np.uint16) * 65535)),
        ("wide-1.png", Image.fromarray(MASK.astype(np.uint16))),
        ("long-1.tif", Image.fromarray(MASK.astype(np.int32))),
        ("long.tif", Image.fromarray(MASK.astype(np.int32) * 70_000)),
        ("real.tif", Image.fromarray(MASK.astype(np.float32))),
        ("noisy.jpg", Image.fromarray(MASK.astype(np.uint8) * 255)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bright_is_the_object(tmp_path: Path, name: str, picture: Image.Image) -> None:
    picture.save(tmp_path / name)
    assert np.array_equal(load_mask(tmp_path / name), MASK)


def test_opaque_is_the_object_of_a_cut_out(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 4), dtype=np.uint8)
    pixels[..., 3] = MASK * 255
    Image.fromarray(pixels).save(tmp_path / "cut.png")
    assert np.array_equal(load_mask(tmp_path / "cut.png"), MASK)


def test_an_opaque_alpha_channel_says_nothing(tmp_path: Path) -> None:
    pixels = np.full((20, 30, 4), 255, dtype=np.uint8)
    pixels[..., :3] = MASK[..., None] * 255
    Image.fromarray(pixels).save(tmp_path / "opaque.png")
    assert np.array_equal(load_mask(tmp_path / "opaque.png"), MASK)


def test_a_black_picture_is_an_empty_mask(tmp_path: Path) -> None:
    Image.new("L", (30, 20)).save(tmp_path / "black.png")
    assert not load_mask(tmp_path / "black.png").any()


def test_a_black_picture_of_sixteen_bits_is_an_empty_mask(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 30), dtype=np.uint16)).save(tmp_path / "black.png")
    assert not load_mask(tmp_path / "black.png").any()


def test_a_large_mask_is_read_without_a_warning(tmp_path: Path) -> None:
    Image.new("1", (9_500, 9_500), 1).save(tmp_path / "large.png")
    assert load_mask(tmp_path / "large.png").all()
    with pytest.raises(ImageError, match="more than the limit"):
        load_mask(tmp_path / "large.png", max_pixels=90_000_000)


def test_orientation_is_honoured(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(MASK.astype(np.uint8) * 255).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(load_mask(tmp_path / "turned.png"), np.rot90(MASK, -1))


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ImageError, match="not an image"):
        load_mask(tmp_path / "text.png")
    with pytest.raises(ImageError, match="no such file"):
        load_mask(tmp_path / "none.png")
