"""Small pictures of one object each: the part of an image around it, a mask and its prompt on it, a caption below.

Panels of one object show the same part, so that masks can be compared by eye; put together they make a sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import mask_boxes
from segloop.geometry.overlay import PixelArray, draw_masks, draw_prompt

CAPTION_PX, GAP_PX = 24, 6
PREDICTED, TRUE = 0, 2
_CONTEXT = 2.5
_LEAST_SIDE_PX = 64
_PAPER, _INK = 250, (40, 40, 40)
_FONT_PX = 13


@dataclass(frozen=True, eq=False)
class View:
    """The part of an image (H, W, 3) around the pixels of a mask (H, W), enlarged or shrunk to a panel of width_px."""

    image: PixelArray
    around: BoolArray
    width_px: int = 240
    window: tuple[int, int, int, int] = field(init=False)
    size_hw: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = mask_boxes(self.around[None])[0].tolist()
        side = max(_LEAST_SIDE_PX, _CONTEXT * max(x1 - x0 + 1, y1 - y0 + 1))
        height, width = self.around.shape
        left, right = _around((x0 + x1 + 1) / 2, side, width)
        top, bottom = _around((y0 + y1 + 1) / 2, side, height)
        scale = self.width_px / max(right - left, bottom - top)
        size = max(1, round(scale * (bottom - top))), max(1, round(scale * (right - left)))
        object.__setattr__(self, "window", (left, top, right, bottom))
        object.__setattr__(self, "size_hw", size)

    def draw(
        self,
        mask: BoolArray,
        caption: str,
        *,
        points_xy: npt.ArrayLike = (),
        labels: npt.ArrayLike | None = None,
        box_xyxy: npt.ArrayLike | None = None,
        color: int = PREDICTED,
    ) -> PixelArray:
        """A panel width_px wide: a mask (H, W) of mask_color(color), its prompt (see draw_prompt) and a caption below."""
        picture = draw_masks(self._cut(self.image), self._cut_mask(mask)[None], first_color=color)
        points = self._place(np.asarray(points_xy, dtype=np.float32).reshape(-1, 2))
        box = None
        if box_xyxy is not None:
            box = self._place(np.asarray(box_xyxy, dtype=np.float32).reshape(2, 2)).reshape(4)
        picture = draw_prompt(picture, points, labels, box)
        height, width = self.size_hw
        panel = np.full((height, self.width_px, 3), _PAPER, dtype=np.uint8)
        left = (self.width_px - width) // 2
        panel[:, left : left + width] = picture
        return stack_panels([panel, write_caption(caption, self.width_px)], axis=0, gap_px=0)

    def _cut(self, pixels: PixelArray) -> PixelArray:
        x0, y0, x1, y1 = self.window
        shrinks = self.size_hw[0] < y1 - y0
        resized = cv2.resize(
            np.ascontiguousarray(pixels[y0:y1, x0:x1]),
            (self.size_hw[1], self.size_hw[0]),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        return np.asarray(resized, dtype=np.uint8)

    def _cut_mask(self, mask: BoolArray) -> BoolArray:
        return self._cut(mask.astype(np.uint8) * 255) > 127

    def _place(self, points_xy: FloatArray) -> FloatArray:
        x0, y0, x1, y1 = self.window
        scale = np.array([self.size_hw[1] / (x1 - x0), self.size_hw[0] / (y1 - y0)])
        return np.asarray((points_xy - (x0, y0) + 0.5) * scale - 0.5, dtype=np.float32)


def write_caption(text: str, width_px: int, *, font_px: int = _FONT_PX) -> PixelArray:
    """A strip (CAPTION_PX, width_px, 3) with a text in the middle; what does not fit is cut, and three dots say so."""
    canvas = Image.new("RGB", (width_px, CAPTION_PX), (_PAPER,) * 3)
    font = ImageFont.load_default(size=font_px)
    shown = text
    while shown and font.getlength(_dotted(shown, text)) > width_px:
        shown = shown[:-1]
    place = (width_px // 2, CAPTION_PX // 2)
    ImageDraw.Draw(canvas).text(place, _dotted(shown, text), fill=_INK, font=font, anchor="mm")
    return np.asarray(canvas)


def stack_panels(panels: Sequence[PixelArray], axis: int, *, gap_px: int = GAP_PX) -> PixelArray:
    """Panels below one another (axis 0) or side by side (1), a gap between them; the shorter ones are filled up."""
    across = max(panel.shape[1 - axis] for panel in panels)
    spaced = []
    for number, panel in enumerate(panels):
        pad = [(0, 0), (0, 0), (0, 0)]
        pad[axis] = (0, gap_px if number < len(panels) - 1 else 0)
        pad[1 - axis] = (0, across - panel.shape[1 - axis])
        spaced.append(np.pad(panel, pad, constant_values=_PAPER))
    return np.concatenate(spaced, axis=axis)


def frame_panels(panels: PixelArray) -> PixelArray:
    """A picture with a gap above and beside it; below there is room in the captions."""
    pad = ((GAP_PX, 0), (GAP_PX, GAP_PX), (0, 0))
    return np.pad(panels, pad, constant_values=_PAPER)


def _dotted(shown: str, whole: str) -> str:
    return shown if shown == whole else f"{shown}..."


def _around(center: float, side: float, length: int) -> tuple[int, int]:
    """Ends of a stretch of about `side` pixels around a place, within 0 to length."""
    wanted = min(length, round(side))
    start = min(max(0, round(center - wanted / 2)), length - wanted)
    return start, start + wanted
