"""Random changes to a training image and its masks: crop, scale, flip, colour.

Every choice comes from the generator passed in. The paper trains its final model without any of this (appendix A); a small
model on little data needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segloop.data.image import ImageArray
from segloop.geometry.windows import Window


@dataclass(frozen=True)
class Augmentation:
    """How often and how far; zero everywhere changes nothing.

    jitter: large-scale jitter, the long side drawn evenly from low to high times the input's; what is more is cut off, what
    is less is padded. Every image is jittered then, and neither zoomed nor cropped. zoom: chance of a crop around an object,
    whose side is crop_low to crop_high times the object's box. large: chance that an image larger than the input is cropped
    at its own resolution. flip: chance of a mirror image. color: chance of a change of brightness, contrast and saturation
    by up to strength.
    """

    jitter: tuple[float, float] | None = None
    zoom: float = 0.0
    crop_low: float = 1.2
    crop_high: float = 6.0
    large: float = 0.0
    flip: float = 0.0
    color: float = 0.0
    strength: float = 0.4


NO_AUGMENTATION = Augmentation()
# As in ViTDet, which the paper's runs on little data follow (paper appendix A).
LARGE_SCALE_JITTER = Augmentation(jitter=(0.1, 2.0), flip=0.5)


@dataclass(frozen=True)
class View:
    """What of an image is seen: a window (x0, y0, x1, y1), ends exclusive, whose long side is `filled` of the input's."""

    window: Window
    filled: float = 1.0


def choose_view(
    boxes_xywh: Sequence[tuple[float, float, float, float]],
    image_hw: tuple[int, int],
    input_size: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> View:
    """Jittered, zoomed at one of the objects, cropped, or whole."""
    if augmentation.jitter is not None:
        return _jitter(image_hw, augmentation.jitter, rng)
    if rng.random() < augmentation.zoom:
        chosen = boxes_xywh[int(rng.integers(len(boxes_xywh)))]
        return View(zoom_window(chosen, image_hw, augmentation, rng))
    is_large = max(image_hw) > input_size
    if is_large and augmentation.large and rng.random() < augmentation.large:
        return View(_crop(image_hw, input_size, rng))
    return View(whole_window(image_hw))


def _jitter(
    image_hw: tuple[int, int], low_high: tuple[float, float], rng: np.random.Generator
) -> View:
    scale = float(rng.uniform(*low_high))
    if scale <= 1.0:
        return View(whole_window(image_hw), scale)
    return View(_crop(image_hw, max(1, round(max(image_hw) / scale)), rng))


def _crop(image_hw: tuple[int, int], side: int, rng: np.random.Generator) -> Window:
    """A square of this side at a random place, cut off where the image is narrower."""
    height, width = (min(length, side) for length in image_hw)
    y0, x0 = int(rng.integers(image_hw[0] - height + 1)), int(rng.integers(image_hw[1] - width + 1))
    return x0, y0, x0 + width, y0 + height


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
