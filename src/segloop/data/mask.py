"""A mask from a picture: the form in which drawing programs and other tools hand masks on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from segloop.data.image import MAX_PIXELS, load_image
from segloop.geometry.frames import BoolArray


def load_mask(path: str | Path, max_pixels: int = MAX_PIXELS) -> BoolArray:
    """Read a mask (H, W) from an image file.

    The object is what is brighter than half of the file's brightest pixel, so 0/1, 0/255 and 16-bit masks all do. Where
    some pixels are transparent, as in a cut-out, the object is what is more opaque than not. The orientation tag is
    honoured. Raises ImageError as load_image does.
    """
    pixels = load_image(path, max_pixels)  # it finds out all that may be wrong with the file
    with Image.open(path) as image:
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            alpha = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))[..., 3]
            if alpha.min() < 255:
                return np.asarray(alpha >= 128)
    brightness = pixels.max(axis=2)
    return np.asarray(brightness > brightness.max() // 2)
