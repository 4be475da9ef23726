"""Pictures of every common kind become one thing: an (H, W, 3) array of 8-bit RGB.

The orientation tag is honoured, so coordinates are those a viewer shows.
"""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from segloop.errors import ImageError, InputError

ImageArray = npt.NDArray[np.uint8]
ImageSource = str | Path | bytes | Image.Image | ImageArray

MAX_PIXELS = 100_000_000
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_open_lock = threading.Lock()
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of its image before any pixel is decoded.

    image_hw: as load_image gives it, the orientation tag honoured. format: JPEG, PNG, ... is_plain: 8 bits a channel, one
    frame, and no orientation to honour.
    """

    image_hw: tuple[int, int]
    format: str
    is_plain: bool


def read_header(content: bytes, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Look at encoded bytes without decoding; raises ImageError as load_image does, save for damage further on."""
    with _opened(content) as image:
        _check_size(image.height, image.width, "the image data", max_pixels)
        try:
            orientation = int(image.getexif().get(_ORIENTATION_TAG, 1) or 1)
        except (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, struct.error):
            orientation = 1  # as ImageOps has it, a broken tag turns nothing
        height, width = image.height, image.width
        is_plain = image.mode in _PLAIN_MODES and orientation == 1
        is_plain = is_plain and getattr(image, "n_frames", 1) == 1
        if 5 <= orientation <= 8:
            height, width = width, height
        return ImageHeader((height, width), image.format or "", is_plain)


def load_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Read a path, encoded bytes, a PIL image or an (H, W, 3) uint8 RGB array as (H, W, 3) uint8 RGB.

    Grey, palette, CMYK and 16-bit pictures are converted (16 bits by their full range, 32-bit and float ones by their
    own least and greatest value); transparency is laid on white. Raises ImageError for what is missing, no image,
    damaged, or larger than max_pixels, which is checked before any pixel is decoded.
    """
    if isinstance(source, np.ndarray):
        return _checked_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _decode(source, "the image", max_pixels)
    name = "the image data" if isinstance(source, bytes) else str(source)
    with _opened(source) as image:
        return _decode(image, name, max_pixels)


@contextmanager
def _opened(source: str | Path | bytes) -> Iterator[Image.Image]:
    """The image with its header read; what goes wrong then or within becomes an ImageError."""
    name = "the image data" if isinstance(source, bytes) else str(source)
    try:
        with _open(io.BytesIO(source) if isinstance(source, bytes) else Path(source)) as image:
            yield image
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder; name an image file") from error
    except PermissionError as error:
        raise ImageError(f"{name}: no permission to read it") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that can be read (JPEG, PNG, WebP, TIFF, ...)"
        ) from error
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # a header that breaks off, or a name no system takes
        raise ImageError(f"{_shorten(name)} cannot be read: {_reason(error)}") from error


def _open(source: io.BytesIO | Path) -> Image.Image:
    # Pillow's own limit is a module global that cannot be raised for one call; ours is checked on the header.
    with _open_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decode(image: Image.Image, name: str, max_pixels: int) -> ImageArray:
    _check_size(image.height, image.width, name, max_pixels)
    try:
        image = ImageOps.exif_transpose(image)
        return np.ascontiguousarray(_to_rgb(image))
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise ImageError(f"{name} is damaged or cut short: {_reason(error)}") from error


def _to_rgb(image: Image.Image) -> ImageArray:
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.float32) / 257.0
        return np.repeat((wide + 0.5).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        span = max(float(values.max() - values.min()), 1e-12)
        grey = ((values - values.min()) / span * 255.0 + 0.5).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "La":  # Pillow takes the multiplied alpha out of this one only step by step
        image = image.convert("LA")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _checked_array(array: ImageArray, max_pixels: int) -> ImageArray:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise InputError(
            f"an image array must be (height, width, 3) uint8 RGB, got {array.shape} {array.dtype}"
        )
    _check_size(array.shape[0], array.shape[1], "the image", max_pixels)
    return np.ascontiguousarray(array)


def _check_size(height: int, width: int, name: str, max_pixels: int) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"{name} is empty: {width} x {height} pixels")
    if height * width > max_pixels:
        raise ImageError(
            f"{name} has {height * width:,} pixels, more than the limit of {max_pixels:,}; "
            "shrink it or raise max_pixels"
        )


def _reason(error: Exception) -> str:
    """The first line of what went wrong, without the file's name."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.splitlines() or [type(error).__name__])[0]


def _shorten(name: str) -> str:
    """A name fit for one line on a terminal."""
    plain = name.replace("\0", "?")
    return plain if len(plain) <= 200 else f"{plain[:100]}...{plain[-20:]}"
