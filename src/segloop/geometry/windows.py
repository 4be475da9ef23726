"""Masks cut out of their logits where there is something, and nowhere else.

Upsampling mixes neighbours, so a pixel can only exceed a value that one of the logits around it exceeds. Most masks of
automatic generation are small: their window holds all there is to know in a fraction of the image's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segloop.geometry.frames import BoolArray, FloatArray, Frame

Window = tuple[int, int, int, int]

# Logit pixels that a logit reaches to on either side, through both bilinear steps.
_REACH = 2.0


@dataclass(frozen=True, eq=False)
class WindowMask:
    """A mask of the image frame: pixels (h, w) bool at window_xyxy, ends exclusive, and nothing outside.

    area: pixels set. stability_score: see segloop.geometry.masks.stability_score.
    """

    window_xyxy: Window
    pixels: BoolArray
    area: int
    stability_score: float

    @property
    def box_xyxy(self) -> tuple[int, int, int, int]:
        """The tight box, x1 and y1 on the last pixel; all 0 for an empty mask."""
        columns = np.flatnonzero(self.pixels.any(axis=0))
        rows = np.flatnonzero(self.pixels.any(axis=1))
        if not len(columns):
            return 0, 0, 0, 0
        x, y = self.window_xyxy[:2]
        return x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]), y + int(rows[-1])


def cut_mask(
    logits: FloatArray, frame: Frame, threshold: float = 0.0, offset: float = 1.0
) -> WindowMask:
    """The mask of logits (L, L) above threshold, and its stability for cuts at threshold - offset and + offset.

    The same pixels and score as of the whole of Frame.logits_to_image.
    """
    window = window_above(logits, frame, threshold - abs(offset))
    if window is None:
        return WindowMask((0, 0, 0, 0), np.zeros((0, 0), dtype=np.bool_), 0, 0.0)
    full = frame.logits_in_window(logits, window)
    inner = int(np.count_nonzero(full > threshold + offset))
    outer = int(np.count_nonzero(full > threshold - offset))
    pixels = full > threshold
    return WindowMask(window, pixels, int(np.count_nonzero(pixels)), inner / max(outer, 1))


def window_above(logits: FloatArray, frame: Frame, floor: float) -> Window | None:
    """A window of the image outside of which no pixel exceeds floor; None where none does anywhere."""
    above = logits > floor
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    if not len(rows):
        return None
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], dtype=np.float64)
    corners += np.array([[-_REACH], [_REACH]])
    corners *= frame.input_size / frame.logit_size
    # One more pixel of the input and of the image each, for the second step and for rounding.
    corners += np.array([[-1.0], [1.0]])
    (x0, y0), (x1, y1) = corners / frame.scale_xy
    height, width = frame.image_hw
    window = (
        int(np.clip(np.floor(x0) - 1, 0, width)),
        int(np.clip(np.floor(y0) - 1, 0, height)),
        int(np.clip(np.ceil(x1) + 1, 0, width)),
        int(np.clip(np.ceil(y1) + 1, 0, height)),
    )
    # What rises in the padding only is not in the image.
    return window if window[0] < window[2] and window[1] < window[3] else None
