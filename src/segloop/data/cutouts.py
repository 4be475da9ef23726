"""Objects cut out of where they were found, to be put into other pictures.

From images with masks, from pictures with transparency, and from drawings (SVG), whose groups are parts with exact masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from PIL import Image

from segloop.data.drawings import render_drawing
from segloop.data.image import ImageArray
from segloop.data.sa1b import SA1BDataset
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.geometry.frames import BoolArray, FloatArray

# A part of this share of the whole is the whole; a smaller one lies inside if this share of it does.
_WHOLE, _INSIDE = 0.9, 0.9
# Pictures that cover more of their frame, or less of their own bounding box, are no cut-outs.
_FULL, _THIN = 0.98, 0.02
_DRAWING = ".svg"
_PICTURES = (".png", ".webp", ".tif", ".tiff", _DRAWING)


@dataclass(frozen=True, eq=False)
class Cutout:
    """pixels (H, W, 4) uint8 RGBA, colours not multiplied by alpha; parts (P, H, W) bool: things of their own in it."""

    pixels: ImageArray
    parts: BoolArray


class CutoutSource(Protocol):
    """Cut-outs of one origin, by number."""

    def __len__(self) -> int:
        """How many there are."""

    def read(self, index: int) -> Cutout | None:
        """Make cut-out `index`; None where it turns out to be of no use."""


class AnnotatedCutouts:
    """The objects of images with masks: those inside no other, whole in the image, at least least_side pixels long."""

    def __init__(self, dataset: SA1BDataset, least_side: int = 48) -> None:
        self._dataset = dataset
        self._least_side = least_side
        self._objects = [
            (image, number)
            for image in range(len(dataset))
            for number in range(len(self._wholes(dataset.read_annotations(image))))
        ]

    def __len__(self) -> int:
        return len(self._objects)

    def read(self, index: int) -> Cutout | None:
        """An object with what else is annotated inside it as parts; None where its image cannot be read."""
        image, number = self._objects[index]
        try:
            sample = self._dataset.read(image)
            return cut_out(sample, self._wholes(sample.annotations)[number])
        except InputError:
            return None

    def _wholes(self, annotations: Sequence[Annotation]) -> list[Annotation]:
        usable = [one for one in annotations if not one.is_crowd and self._is_usable(one)]
        return [one for one in usable if not any(_in_box(one, other) for other in annotations)]

    def _is_usable(self, one: Annotation) -> bool:
        height, width = one.rle.size_hw
        x, y, box_width, box_height = one.bbox_xywh
        is_whole = x >= 1 and y >= 1 and x + box_width < width - 1 and y + box_height < height - 1
        return is_whole and max(box_width, box_height) >= self._least_side


class PictureCutouts:
    """The pictures with transparency and the drawings below a folder.

    side: of a drawing when it is rendered, in pixels. Raises InputError where the folder holds neither.
    """

    def __init__(self, folder: str | Path, side: int = 400) -> None:
        self._root = Path(folder)
        self._paths = sorted(
            path for path in self._root.rglob("*") if path.suffix.lower() in _PICTURES
        )
        self._side = side
        if not self._paths:
            raise InputError(f"{folder} holds no picture ({', '.join(_PICTURES)})")

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def names(self) -> tuple[str, ...]:
        """The files, below the folder and in order."""
        return tuple(path.relative_to(self._root).as_posix() for path in self._paths)

    @property
    def has_drawings(self) -> bool:
        """Whether any of it is a drawing, which needs resvg-py."""
        return any(path.suffix.lower() == _DRAWING for path in self._paths)

    def read(self, index: int) -> Cutout | None:
        """None for a file that cannot be read, a picture that fills its frame, and one that is all but empty."""
        path = self._paths[index]
        try:
            if path.suffix.lower() == _DRAWING:
                return cut_out_drawing(path, self._side)
            return cut_out_picture(path)
        except InputError:
            return None


def cut_out(sample: Sample, annotation: Annotation) -> Cutout:
    """An object of a sample, cropped to its mask, whose edge is softened by a pixel; parts are what lies inside it."""
    whole = annotation.mask()
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if not len(rows):
        raise InputError(f"{sample.name}: annotation {annotation.id} is empty")
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    area = int(whole.sum())
    inside = []
    for other in sample.annotations:
        if other.id != annotation.id and not other.is_crowd and other.area < _WHOLE * area:
            mask = other.mask()
            if (mask & whole).sum() >= _INSIDE * max(mask.sum(), 1):
                inside.append(mask[window] & whole[window])
    alpha = _softened(whole[window])
    pixels = np.dstack([sample.image[window], np.round(255 * alpha).astype(np.uint8)])
    return Cutout(pixels, _stack(inside, alpha.shape))


def cut_out_picture(path: str | Path) -> Cutout:
    """A picture with transparency, cropped to what is not transparent; it has no parts.

    Raises InputError, which names it, for what cannot be read, fills its frame, or is all but empty.
    """
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a picture that can be read ({error})") from error
    try:
        return _cropped(pixels, [])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def cut_out_drawing(path: str | Path, side: int) -> Cutout:
    """A drawing rendered with its long side at `side` pixels and cropped likewise; parts are what is seen of its groups."""
    try:
        return _cropped(*render_drawing(Path(path).read_bytes(), side))
    except (OSError, InputError) as error:
        raise InputError(f"{path}: {error}") from error


def _cropped(pixels: ImageArray, parts: Sequence[BoolArray]) -> Cutout:
    """InputError for a picture that fills its frame, or of which next to nothing is seen."""
    solid = pixels[..., 3] >= 128
    if solid.mean() > _FULL:
        raise InputError("it fills its frame: there is nothing to cut out")
    rows, columns = (np.flatnonzero((pixels[..., 3] > 0).any(axis=axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else np.s_[:0]
    if not len(rows) or solid[window].mean() < _THIN:
        raise InputError("it is all but empty")
    cut = np.ascontiguousarray(pixels[window])
    return Cutout(cut, _stack([part[window] for part in parts], cut.shape[:2]))


def _softened(mask: BoolArray) -> FloatArray:
    """Alpha (H, W) from 0 to 1 that falls off within the mask; outside its frame there is nothing."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(soft * mask, dtype=np.float32)


def _stack(masks: Sequence[BoolArray], size_hw: tuple[int, ...]) -> BoolArray:
    return np.stack(masks) if masks else np.zeros((0, *size_hw), dtype=np.bool_)


def _in_box(one: Annotation, other: Annotation) -> bool:
    """Whether the box of one lies within a larger object's."""
    if other.id == one.id or other.is_crowd or other.area <= one.area:
        return False
    (x0, y0, w0, h0), (x1, y1, w1, h1) = one.bbox_xywh, other.bbox_xywh
    shared = max(0.0, min(x0 + w0, x1 + w1) - max(x0, x1)) * max(
        0.0, min(y0 + h0, y1 + h1) - max(y0, y1)
    )
    return shared >= _INSIDE * w0 * h0
