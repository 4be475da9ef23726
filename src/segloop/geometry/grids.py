"""Where to ask for everything in an image: regular points, and overlapping crops in layers (paper appendix B).

Crops follow the released generator, which the paper does not describe to the pixel.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from segloop.geometry.frames import FloatArray

CropBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class Crop:
    """A part of the image: layer 0 is all of it, layer i has 2^i x 2^i crops; box_xyxy in pixels, ends exclusive."""

    box_xyxy: CropBox
    layer: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        x0, y0, x1, y1 = self.box_xyxy
        return y1 - y0, x1 - x0

    def holds(self, points_xy: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which of the points (N, 2) in the image frame lie in the crop."""
        x0, y0, x1, y1 = self.box_xyxy
        x, y = points_xy[:, 0], points_xy[:, 1]
        return np.asarray((x >= x0) & (x < x1) & (y >= y0) & (y < y1))


def point_grid(points_per_side: int) -> FloatArray:
    """Centres (N * N, 2) of N x N equal cells of the unit square, row by row."""
    axis = (np.arange(points_per_side) + 0.5) / points_per_side
    x, y = np.meshgrid(axis, axis)
    return np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)


def crop_layers(whole_xyxy: CropBox, num_layers: int, overlap: float) -> list[Crop]:
    """The whole and, for each further layer, its crops, column by column.

    Neighbours of layer i share overlap * 2 / 2^i of the short side, in whole pixels.
    """
    left, top, right, bottom = whole_xyxy
    width, height = right - left, bottom - top
    crops = [Crop(whole_xyxy, 0)]
    for layer in range(1, num_layers + 1):
        per_side = 2**layer
        shared = int(overlap * min(height, width) * (2 / per_side))
        crop_width, crop_height = _side(width, per_side, shared), _side(height, per_side, shared)
        starts_x = [(crop_width - shared) * number for number in range(per_side)]
        starts_y = [(crop_height - shared) * number for number in range(per_side)]
        for x, y in itertools.product(starts_x, starts_y):
            box = (
                left + x,
                top + y,
                min(left + x + crop_width, right),
                min(top + y + crop_height, bottom),
            )
            if box[0] < box[2] and box[1] < box[3]:  # a very thin image has no place for all
                crops.append(Crop(box, layer))
    return crops


def _side(length: int, count: int, shared: int) -> int:
    return math.ceil((shared * (count - 1) + length) / count)
