"""Random changes to a training image and its masks: crop, flip, colour.

Every choice comes from the generator passed in. The paper trains its final model without any of this (appendix A); a small
model on little data needs it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segloop.data.image import ImageArray

Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Augmentation:
    """How often and how far; zero everywhere changes nothing.

    zoom: chance of a crop around one object, whose side is crop_low to crop_high times the object's box.
    flip: chance of a mirror image. color: chance of a change of brightness, contrast and saturation by up to strength.
    """

    zoom: float = 0.0
    crop_low: float = 1.2
    crop_high: float = 6.0
    flip: float = 0.0
    color: float = 0.0
    strength: float = 0.4


NO_AUGMENTATION = Augmentation()


def whole_window(image_hw: tuple[int, int]) -> Window:
    """The window (x0, y0, x1, y1), ends exclusive, that crops nothing."""
    return 0, 0, image_hw[1], image_hw[0]


def zoom_window(
    box_xywh: tuple[float, float, float, float],
    image_hw: tuple[int, int],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Window:
    """A window that holds the box whole where it can, at a random place and scale inside the image."""
    height, width = image_hw
    x, y, box_width, box_height = box_xywh
    low, high = np.log(augmentation.crop_low), np.log(augmentation.crop_high)
    side = max(box_width, box_height, 16.0) * float(np.exp(rng.uniform(low, high)))
    aspect = float(np.exp(rng.uniform(-0.3, 0.3)))
    window_width, window_height = (
        min(width, round(side * aspect)),
        min(height, round(side / aspect)),
    )
    x0 = _place(x, box_width, window_width, width, rng)
    y0 = _place(y, box_height, window_height, height, rng)
    return x0, y0, x0 + window_width, y0 + window_height


def _place(start: float, length: float, window: int, full: int, rng: np.random.Generator) -> int:
    # Clipped at both ends: a box may reach over the image's border.
    ends = np.clip((start, start + length - window), 0.0, full - window)
    return round(float(rng.uniform(ends.min(), ends.max())))


def change_color(image: ImageArray, strength: float, rng: np.random.Generator) -> ImageArray:
    """Brightness, contrast and saturation of (H, W, 3) each times a factor within 1 +- strength."""
    brightness, contrast, saturation = (
        float(value) for value in rng.uniform(1 - strength, 1 + strength, 3)
    )
    pixels = image.astype(np.float32) * brightness
    mean = float(pixels.mean())
    pixels = (pixels - mean) * contrast + mean
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    pixels = (pixels - grey[..., None]) * saturation + grey[..., None]
    return np.asarray(np.clip(pixels, 0, 255), dtype=np.uint8)
