"""Objects cut out of where they were found, to be put into other pictures.

From images with masks, from pictures with transparency, and from drawings (SVG), whose groups are parts with exact masks.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from PIL import Image

from segloop.data.image import ImageArray
from segloop.data.sa1b import SA1BDataset
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.geometry.frames import BoolArray, FloatArray

# A part of this share of the whole is the whole; a smaller one lies inside if this share of it does.
_WHOLE, _INSIDE = 0.9, 0.9
# What differs by less than this many of 255 steps is antialiasing.
_VISIBLE = 24
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
        self._images = [
            index for index in range(len(dataset)) if self._wholes(dataset.read_annotations(index))
        ]

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> Cutout | None:
        """One of the image's objects, with what else is annotated inside it as parts."""
        sample = self._dataset.read(self._images[index])
        wholes = self._wholes(sample.annotations)
        return cut_out(sample, wholes[index % len(wholes)])

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
        root = Path(folder)
        self._paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in _PICTURES)
        self._side = side
        if not self._paths:
            raise InputError(f"{folder} holds no picture ({', '.join(_PICTURES)})")

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def has_drawings(self) -> bool:
        """Whether any of it is a drawing, which needs resvg-py."""
        return any(path.suffix.lower() == _DRAWING for path in self._paths)

    def read(self, index: int) -> Cutout | None:
        """None for a file that cannot be read, or a picture that fills its frame."""
        path = self._paths[index]
        try:
            if path.suffix.lower() == _DRAWING:
                found = cut_out_drawing(path.read_bytes(), self._side)
            else:
                found = cut_out_picture(path)
        except (InputError, OSError):
            return None
        share = float((found.pixels[..., 3] >= 128).mean()) if found.pixels.size else 0.0
        return found if 0.02 < share < 0.98 else None


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
    """A picture with transparency, cropped to what is not transparent; it has no parts."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a picture that can be read ({error})") from error
    return _cropped(pixels, [])


def cut_out_drawing(svg: bytes, side: int, max_parts: int = 6) -> Cutout:
    """A drawing rendered with its long side at `side` pixels; parts are what is seen of each of its groups.

    What is seen of a group is where the drawing looks different without it; a drawing that does not say how large it is has
    no parts, for without a group it may be another size. Needs resvg-py. Raises InputError for what is no drawing.
    """
    try:
        root = ET.fromstring(svg)
        whole = _render(root, side)
    except (ET.ParseError, ValueError) as error:
        raise InputError(f"not a drawing that can be rendered ({error})") from error
    area = max(int((whole[..., 3] >= 128).sum()), 1)
    parts: list[BoolArray] = []
    groups = [one for one in root.iter() if _tag(one) == "g"] if _drawn_size(root) else []
    for group in groups[: 3 * max_parts]:
        style = group.get("style")
        group.set("style", "display:none")
        without = _render(root, side)
        group.set("style", style or "")
        seen = (np.abs(whole.astype(np.int16) - without).max(axis=2) > _VISIBLE) & (
            whole[..., 3] >= 128
        )
        is_new = all((seen ^ part).sum() > (1 - _WHOLE) * seen.sum() for part in parts)
        if 0.01 * area < seen.sum() < _WHOLE * area and is_new:
            parts.append(seen)
    return _cropped(whole, parts[:max_parts])


def _render(root: ET.Element, side: int) -> ImageArray:
    from resvg_py import svg_to_bytes

    width, height = _drawn_size(root) or (1.0, 1.0)
    text = ET.tostring(root, encoding="unicode")
    is_wide = width >= height
    png = svg_to_bytes(
        svg_string=text,
        width=side if is_wide else None,
        height=None if is_wide else side,
        skip_system_fonts=True,
    )
    with Image.open(io.BytesIO(bytes(png))) as image:
        return np.asarray(image.convert("RGBA"))


def _drawn_size(root: ET.Element) -> tuple[float, float] | None:
    """Width and height in units of its own; None where the file does not say."""
    try:
        if view := root.get("viewBox"):
            _, _, width, height = (float(one) for one in view.replace(",", " ").split())
        else:
            width, height = (
                float(root.attrib[one].rstrip("ptxmcin")) for one in ("width", "height")
            )
    except (KeyError, ValueError):
        return None
    return width, height


def _tag(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _cropped(pixels: ImageArray, parts: Sequence[BoolArray]) -> Cutout:
    solid = pixels[..., 3] > 0
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    if not len(rows):
        return Cutout(pixels[:0, :0], np.zeros((0, 0, 0), dtype=np.bool_))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
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
