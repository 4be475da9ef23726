"""Small errors of automatic masks: holes and islands of a few pixels (paper appendix B)."""

from __future__ import annotations

import cv2
import numpy as np

from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import IntArray


def fill_small_holes(mask: BoolArray, min_area_px: int) -> BoolArray:
    """The mask (H, W) with its 8-connected holes of under min_area_px filled; the same array if there is none."""
    labels, areas = _components(~mask)
    small = areas < min_area_px
    if not small.any():
        return mask
    is_small = np.concatenate([[False], small])
    return np.asarray(mask | is_small[labels])


def drop_small_islands(
    mask: BoolArray, min_area_px: int, *, keeps_largest: bool = True
) -> BoolArray:
    """The mask (H, W) without its 8-connected components of under min_area_px; the same array if there is none.

    Where all are small, the largest stays as the released generator has it, or none as the paper has it.
    """
    labels, areas = _components(mask)
    large = areas >= min_area_px
    if large.all():
        return mask
    if keeps_largest and not large.any():
        large[np.argmax(areas)] = True
    return np.asarray(np.concatenate([[False], large])[labels])


def _components(mask: BoolArray) -> tuple[IntArray, IntArray]:
    """Labels (H, W), 0 outside, and the area of each component from label 1 on."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels.astype(np.int64), stats[1:, cv2.CC_STAT_AREA].astype(np.int64)
