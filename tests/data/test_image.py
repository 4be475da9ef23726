"""Every common kind of picture becomes RGB; what is none gets one clear line."""

from __future__ import annotations

import io
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from segloop.data.image import load_image, read_header
from segloop.errors import ImageError, InputError

# Rows of different colour everywhere, so that no turn or flip goes unseen.
PICTURE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)

# What a camera stores for each orientation tag, so that a viewer shows PICTURE (TIFF 6.0, Orientation).
STORED = {
    1: PICTURE,
    2: PICTURE[:, ::-1],
    3: PICTURE[::-1, ::-1],
    4: PICTURE[::-1],
    5: PICTURE.transpose(1, 0, 2),
    6: np.rot90(PICTURE, 1),  # shown after a turn clockwise
    7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(PICTURE, -1),  # shown after a turn counter-clockwise
}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png() -> bytes:
    return encoded(Image.fromarray(PICTURE), "PNG")


def test_every_way_in_gives_the_same_pixels(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(png())
    for source in (path, str(path), png(), Image.fromarray(PICTURE), PICTURE):
        pixels = load_image(source)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, PICTURE)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_orientation_is_honoured(tag: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    stored = Image.fromarray(np.ascontiguousarray(STORED[tag]))
    np.testing.assert_array_equal(load_image(encoded(stored, kind, exif=exif)), PICTURE)


def test_orientation_of_a_jpeg_turns_the_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (40, 10), (9, 99, 199)), "JPEG", exif=exif)
    assert load_image(data).shape == (40, 10, 3)


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "P", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "LA", "La", "PA",
     "I", "F", "I;16", "I;16B", "I;16L"],
)  # fmt: skip
def test_every_mode_becomes_rgb(mode: str) -> None:
    pixels = load_image(Image.new(mode, (5, 3)))
    assert pixels.shape == (3, 5, 3)
    assert pixels.dtype == np.uint8


def test_grey_is_repeated() -> None:
    grey = PICTURE[..., 0]
    pixels = load_image(Image.fromarray(grey))
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], grey)


def test_black_and_white_uses_the_full_range() -> None:
    bits = PICTURE[..., 0] > 127
    np.testing.assert_array_equal(load_image(Image.fromarray(bits))[..., 0], bits * 255)


def test_a_palette_is_looked_up() -> None:
    image = Image.new("P", (2, 2))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2, 1])
    expected = [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    assert load_image(encoded(image, "PNG")).tolist() == expected


def test_sixteen_bits_are_scaled_by_their_full_range() -> None:
    wide = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    assert load_image(encoded(Image.fromarray(wide), "PNG"))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_floats_are_scaled_by_their_own_range() -> None:
    values = np.array([[-1.0, 0.0, 3.0, np.nan]], dtype=np.float32)
    assert load_image(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [
        0,
        64,
        255,
        64,
    ]
    assert load_image(Image.fromarray(np.full((2, 2), 5.0, dtype=np.float32))).max() == 0


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(200, 0, 0, 255), (200, 0, 0, 0), (0, 0, 0, 128)])
    pixels = load_image(encoded(image, "PNG"))[0]
    assert pixels[0].tolist() == [200, 0, 0]
    assert pixels[1].tolist() == [255, 255, 255]
    np.testing.assert_allclose(pixels[2], 127, atol=1)


def test_a_transparent_colour_is_laid_on_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    pixels = load_image(encoded(image, "PNG", transparency=(1, 2, 3)))
    assert pixels.tolist() == [[[255, 255, 255], [9, 9, 9]]]


def test_cmyk_ink_is_subtracted() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    pixels = load_image(encoded(image, "JPEG", quality=95))
    np.testing.assert_allclose(pixels[4, 4], [255, 0, 0], atol=3)


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    assert load_image(encoded(Image.new("RGB", size), "PNG")).shape == (size[1], size[0], 3)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more than it holds."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(
        ImageError, match="10,000,000,000 pixels, more than the limit of 100,000,000"
    ):
        load_image(bomb(100_000, 100_000))


def test_the_limit_can_be_moved_either_way() -> None:
    with pytest.raises(ImageError, match="the limit of 23"):
        load_image(png(), max_pixels=23)
    with pytest.raises(ImageError, match="the limit of 23"):
        load_image(PICTURE, max_pixels=23)
    assert load_image(png(), max_pixels=24).shape == PICTURE.shape


def test_pillows_own_limit_is_left_as_it_was() -> None:
    before = Image.MAX_IMAGE_PIXELS
    load_image(png())
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_limit_above_pillows_own_is_believed_to_the_last_pixel() -> None:
    stream = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(stream, "TIFF", compression="group4")
    assert load_image(stream.getvalue(), max_pixels=200_000_000).shape == (10_000, 20_000, 3)


def test_a_limit_above_pillows_own_is_believed() -> None:
    with pytest.raises(ImageError, match="damaged or cut short"):
        load_image(bomb(20_000, 20_000), max_pixels=500_000_000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_a_file_that_breaks_off_is_refused(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    path = tmp_path / "broken.jpg"
    for share in (0.02, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError) as caught:
            load_image(path)
        assert "\n" not in str(caught.value)
        assert "broken.jpg" in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError, TypeError, NotImplementedError, ZeroDivisionError])
def test_whatever_pillow_raises_is_damage(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("bad bits\nand more")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ImageError, match=r"is damaged or cut short: bad bits$"):
        load_image(png())
    monkeypatch.setattr("PIL.Image.open", fail)
    for read in (load_image, read_header):
        with pytest.raises(ImageError, match=r"cannot be read: bad bits$"):
            read(png())


def test_a_lack_of_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(MemoryError):
        load_image(png())


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_a_damaged_avif_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = bytearray(encoded(Image.fromarray(noise), "AVIF"))
    for start in range(20, 300, 4):
        damaged = data[:start] + b"\xff\xff\xff\xff" + data[start + 4 :]
        for read in (load_image, read_header):
            with suppress(ImageError):
                read(bytes(damaged))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("form", [b"\0\2", b"\0\5", b"\0\x0c", b"\xff\xff"])
def test_an_orientation_that_is_no_number_turns_nothing(kind: str, form: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    # As text the value reads "6", as fraction and as real number it lies behind the end.
    number = b"\x01\x12\0\3\0\0\0\1\0\6\0\0"
    broken = b"\x01\x12" + form + b"\0\0\0\2" + b"6\0\0\0"
    raw = exif.tobytes()
    assert number in raw
    content = encoded(Image.fromarray(PICTURE), kind, exif=raw.replace(number, broken))
    assert load_image(content).shape == PICTURE.shape
    assert read_header(content).image_hw == PICTURE.shape[:2]


def test_damaged_tags_are_no_reason_to_warn() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a cat"
    whole = encoded(Image.fromarray(PICTURE), "JPEG", exif=exif)
    start = whole.index(b"Exif\0\0") + 6
    for place in range(start, start + 44):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        assert load_image(bytes(damaged)).shape[2] == 3
        read_header(bytes(damaged))


@pytest.mark.parametrize("content", [b"", b"just some text, named like a picture\n", bytes(100)])
def test_what_is_no_image_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(ImageError, match="not an image that can be read"):
            load_image(source)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        load_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    for name in ("x" * 5000, "a\0b.png"):
        with pytest.raises(ImageError, match="cannot be read") as caught:
            load_image(name)
        assert len(str(caught.value)) < 250
    with pytest.raises(ImageError, match="no such file") as caught:
        load_image("folder/" * 500 + "a.png")
    assert len(str(caught.value)) < 250


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("named pipes are a matter of Unix")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is not a file on disk"):
        load_image(tmp_path / "pipe.png")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
    ],
)
def test_an_array_of_another_kind_is_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="must be \\(height, width, 3\\) uint8"):
        load_image(array)


def test_an_array_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="is empty"):
        load_image(np.zeros((0, 4, 3), dtype=np.uint8))


def test_a_header_tells_the_size_that_decoding_gives() -> None:
    image = Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8))
    turned = image.getexif()
    turned[0x0112] = 6
    for options, form, is_plain in (
        ({}, "PNG", True),
        ({"exif": turned}, "TIFF", False),
        ({"exif": turned}, "JPEG", False),
    ):
        stream = io.BytesIO()
        image.save(stream, form, **options)
        header = read_header(stream.getvalue())
        assert header.image_hw == load_image(stream.getvalue()).shape[:2]
        assert (header.format, header.is_plain) == (form, is_plain)
    with pytest.raises(ImageError, match="pixels"):
        read_header(stream.getvalue(), max_pixels=599)
    with pytest.raises(ImageError, match="not an image"):
        read_header(b"no picture")
