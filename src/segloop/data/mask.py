"""A mask from a picture: the form in which drawing programs and other tools hand masks on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from segloop.data.image import MAX_PIXELS, decode_image, to_rgb
from segloop.geometry.frames import BoolArray


def load_mask(path: str | Path, max_pixels: int = MAX_PIXELS) -> BoolArray:
    """Read a mask (H, W) from an image file.

    The object is what is brighter than half of the file's brightest pixel, so 0/1, 0/255 and 16-bit masks all do. Where
    some pixels are transparent, as in a cut-out, the object is what is more opaque than not. The orientation tag is
    honoured. Raises ImageError as load_image does.
    """
    return decode_image(path, _object_of, max_pixels)


def _object_of(image: Image.Image) -> BoolArray:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):  # as stored: 1 of 65535 is bright
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        return np.asarray(values > values.max() / 2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() < 255:
            return np.asarray(alpha >= 128)
    brightness = to_rgb(image).max(axis=2)
    return np.asarray(brightness > brightness.max() // 2)
