"""From an RGB picture to the square of numbers an encoder sees (paper appendix A, official preprocessing)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from segloop.data.image import ImageArray
from segloop.geometry.frames import FloatArray, Frame

PIXEL_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
PIXEL_STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)


def resize_image(image: ImageArray, height_width: tuple[int, int]) -> ImageArray:
    """Scale a picture (H, W, 3) to the given size, bilinear with antialiasing."""
    height, width = height_width
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def normalize_and_pad(content: ImageArray, input_size: int) -> FloatArray:
    """Normalise (h, w, 3) uint8 with the ImageNet statistics, then pad with zeros to (3, S, S) at bottom and right."""
    padded = np.zeros((3, input_size, input_size), dtype=np.float32)
    normalized = (content.astype(np.float32) - PIXEL_MEAN) / PIXEL_STD
    padded[:, : content.shape[0], : content.shape[1]] = normalized.transpose(2, 0, 1)
    return padded


def prepare_input(image: ImageArray, frame: Frame) -> FloatArray:
    """The encoder's input (3, S, S) for a picture (H, W, 3): long side to S, normalised, then padded."""
    return normalize_and_pad(resize_image(image, frame.content_hw), frame.input_size)
