"""One image with its annotations, whatever dataset it came from."""

from __future__ import annotations

from dataclasses import dataclass

from segloop.data.image import ImageArray
from segloop.geometry.frames import BoolArray
from segloop.geometry.rle import Rle, decode_rle


@dataclass(frozen=True)
class Annotation:
    """One mask of an image, kept compressed; bbox_xywh and area in pixels."""

    rle: Rle
    area: float
    bbox_xywh: tuple[float, float, float, float]
    id: int
    category: str | None = None
    is_crowd: bool = False

    def mask(self) -> BoolArray:
        """The mask (H, W), decoded now."""
        return decode_rle(self.rle)


@dataclass(frozen=True, eq=False)
class Sample:
    """An image (H, W, 3) uint8 RGB and its annotations."""

    name: str
    image: ImageArray
    annotations: tuple[Annotation, ...]
