"""Masks that a JSON file keeps as polygons or run lengths."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from segloop.data.sample import Annotation
from segloop.data.sets.listed import annotate
from segloop.errors import InputError
from segloop.geometry.rle import Rle, encode_rle

Polygon = tuple[float, ...]

FARTHEST_PX = 100_000
# Corners on the border come out a little beyond it when they are rounded: a share of the image's side.
_OVERHANG = 0.01


@dataclass(frozen=True)
class Outline:
    """One object as the file draws it: polygons x, y, x, y, ... in image pixels, or run lengths.

    The object is the union of its polygons; with has_holes, what an odd number of them holds.
    """

    id: int
    category: str | None
    polygons: tuple[Polygon, ...] = ()
    rle: Rle | None = None
    is_crowd: bool = False
    has_holes: bool = False

    def encode(self, size_hw: tuple[int, int]) -> Rle:
        """The mask in an image of this size."""
        if self.rle is not None:
            return self.rle
        fill = rle_of_nested_polygons if self.has_holes else rle_of_polygons
        return fill(self.polygons, size_hw)


@dataclass(frozen=True)
class Outlines:
    """The truth of one image. size_hw: the image's size as the file has it, None where it says nothing."""

    outlines: tuple[Outline, ...]
    size_hw: tuple[int, int] | None = None

    def count(self) -> int:
        """How many objects there are, crowds left out."""
        return sum(not outline.is_crowd for outline in self.outlines)

    def annotations(self, image_hw: tuple[int, int]) -> tuple[Annotation, ...]:
        """The objects as masks of an image of this size; InputError where the file has another size."""
        sizes = [self.size_hw, *(one.rle.size_hw for one in self.outlines if one.rle is not None)]
        for size_hw in sizes:
            if size_hw is not None and size_hw != image_hw:
                raise InputError(
                    f"its annotation is for an image of {size_hw} (height, width), it has {image_hw}"
                )
        return tuple(
            annotate(one.encode(image_hw), one.id, one.category, is_crowd=one.is_crowd)
            for one in self.outlines
        )


def rle_of_polygons(polygons: Iterable[Polygon], size_hw: tuple[int, int]) -> Rle:
    """The union of polygons as COCO's tools fill them; those of less than three corners have no inside."""
    height, width = size_hw
    # The stubs know only whole numbers here; the library takes fractions as well.
    filled: Any = [list(polygon) for polygon in polygons if len(polygon) >= 6]
    if not filled:
        return Rle.from_json({"size": [height, width], "counts": [height * width]})
    merged = coco_mask.merge(coco_mask.frPyObjects(filled, height, width))
    return Rle.from_json(dict(merged))


def rle_of_nested_polygons(polygons: Iterable[Polygon], size_hw: tuple[int, int]) -> Rle:
    """What an odd number of polygons holds, their outlines with it, as OpenCV fills them; fractions are cut off."""
    mask = np.zeros(size_hw, dtype=np.uint8)
    corners = [np.asarray(one, dtype=np.float64).reshape(-1, 2) for one in polygons if one]
    cv2.fillPoly(mask, [one.astype(np.int32) for one in corners], (1,))
    return encode_rle(mask.astype(np.bool_))


def read_outline(item: dict[str, Any], category: str, shape: Any) -> Outline:
    """An object of COCO's layout, whose shape is polygons or run lengths; ValueError or KeyError where it is neither."""
    number, is_crowd = int(item["id"]), bool(item.get("iscrowd", 0))
    if isinstance(shape, dict):
        return Outline(number, category, rle=Rle.from_json(shape), is_crowd=is_crowd)
    return Outline(number, category, tuple(map(read_polygon, shape)), is_crowd=is_crowd)


def read_polygon(numbers: Any) -> Polygon:
    """A polygon from JSON, flat (x, y, x, y, ...) or as pairs; ValueError where it is neither, or goes too far."""
    flat = [side for point in numbers for side in (point if isinstance(point, list) else [point])]
    polygon = tuple(float(side) for side in flat)
    # False for what is no number as well; to fill a polygon takes memory by its length.
    if len(polygon) % 2 or not all(abs(side) <= FARTHEST_PX for side in polygon):
        raise ValueError(f"a polygon must be pairs of finite numbers, none beyond {FARTHEST_PX} px")
    return polygon


def check_within(polygon: Sequence[float], size_hw: tuple[float, float]) -> None:
    """InputError where a polygon x, y, x, y, ... reaches beyond the image by more than rounding does, or is no number.

    Such a one belongs to another image, or is in another unit. A size of (1, 1) is for corners as shares of the sides.
    """
    height, width = size_hw
    sides = (width, height) * (len(polygon) // 2)
    # False for what is no number as well.
    if not all(
        -_OVERHANG * side <= one <= (1 + _OVERHANG) * side
        for one, side in zip(polygon, sides, strict=True)
    ):
        raise InputError("an outline larger than the image")


def read_json(path: Path) -> Any:
    """A JSON file; InputError where there is none."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
