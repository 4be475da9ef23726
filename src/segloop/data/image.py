"""Pictures of every common kind become one thing: an (H, W, 3) array of 8-bit RGB.

The orientation tag is honoured, so coordinates are those a viewer shows.
"""

from __future__ import annotations

import io
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from segloop.errors import ImageError, InputError, shorten

ImageArray = npt.NDArray[np.uint8]
ImageSource = str | Path | bytes | Image.Image | ImageArray

MAX_PIXELS = 100_000_000
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_PILLOWS_LEAST_LIMIT = 80_000_000
_limit_lock = threading.Lock()
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

T = TypeVar("T", bound=np.generic)


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
    with _opened(content) as image, _quietly():
        _check_size(image.height, image.width, "the image data", max_pixels)
        orientation = _orientation(image)
        height, width = image.height, image.width
        is_plain = image.mode in _PLAIN_MODES and orientation == 1
        is_plain = is_plain and getattr(image, "n_frames", 1) == 1
        if 5 <= orientation <= 8 and image.format != "TIFF":  # Pillow turns that one by itself
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
    return decode_image(source, to_rgb, max_pixels)


def decode_image(
    source: str | Path | bytes | Image.Image,
    convert: Callable[[Image.Image], npt.NDArray[T]],
    max_pixels: int = MAX_PIXELS,
) -> npt.NDArray[T]:
    """What `convert` makes of a picture that is decoded and upright; raises ImageError as load_image does."""
    if isinstance(source, Image.Image):
        return _decode(source, "the image", convert, max_pixels)
    with _opened(source) as image:
        return _decode(image, _name_of(source), convert, max_pixels)


@contextmanager
def _opened(source: str | Path | bytes) -> Iterator[Image.Image]:
    """The image with its header read; what goes wrong then or within becomes an ImageError."""
    name = _name_of(source)
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
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # each of Pillow's readers has its own for a damaged header
        raise ImageError(f"{name} cannot be read: {_reason(error)}") from error


def _open(source: io.BytesIO | Path) -> Image.Image:
    if isinstance(source, Path):
        mode = source.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would be waited for
            raise ImageError(f"{_name_of(source)} is not a file on disk; name an image file")
    with _without_pillows_limit(), _quietly():
        return Image.open(source)


def _decode(
    image: Image.Image,
    name: str,
    convert: Callable[[Image.Image], npt.NDArray[T]],
    max_pixels: int,
) -> npt.NDArray[T]:
    _check_size(image.height, image.width, name, max_pixels)
    # Some of Pillow's readers look at its limit again. Smaller pictures need not wait for one another.
    is_large = image.height * image.width > _PILLOWS_LEAST_LIMIT
    try:
        with _without_pillows_limit() if is_large else nullcontext(), _quietly():
            return np.ascontiguousarray(convert(_upright(image)))
    except MemoryError:
        raise
    except Exception as error:  # each of Pillow's readers has its own for damaged pixels
        raise ImageError(f"{name} is damaged or cut short: {_reason(error)}") from error


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Pillow's own limit is a module global that cannot be raised for one call; ours is checked on the header."""
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep Pillow's warnings of odd tags back: either the image is read, or an error says what is wrong with it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        yield


def _upright(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it."""
    image.load()  # which already turns a TIFF
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The orientation tag; a broken one turns nothing."""
    try:
        with _quietly():
            given = image.getexif().get(_ORIENTATION_TAG)
    except MemoryError:
        raise
    except Exception:
        return 1
    return given if isinstance(given, int) and given else 1


def to_rgb(image: Image.Image) -> ImageArray:
    """The pixels (H, W, 3) of a decoded picture, converted as load_image says."""
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
    return shorten((text.splitlines() or [type(error).__name__])[0])


def _name_of(source: str | Path | bytes) -> str:
    return "the image data" if isinstance(source, bytes) else shorten(str(source))
