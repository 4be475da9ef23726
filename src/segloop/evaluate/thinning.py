"""Thins a mask to lines of one pixel, as the boundary benchmark does: from both sides at once, until nothing changes.

The algorithm is that of Guo and Hall (1989), which MATLAB's bwmorph calls "thin" (with the rules of Lam, Lee and Suen 1992).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from segloop.geometry.frames import BoolArray

# The eight neighbours of a pixel, one bit each, against the clock from the right one on.
_BITS = np.array([[8, 4, 2], [16, 0, 1], [32, 64, 128]], dtype=np.float32)


def thin(mask: BoolArray) -> BoolArray:
    """The lines (H, W) that are left of a mask when its borders are taken away as long as nothing falls apart."""
    # A margin of zeros: no special case at the image's border.
    pixels = np.pad(mask.astype(np.uint8), 1)
    while True:
        before = int(np.count_nonzero(pixels))
        for removable in _REMOVABLE:
            code = cv2.filter2D(pixels, cv2.CV_8U, _BITS, borderType=cv2.BORDER_CONSTANT)
            pixels &= np.asarray(cv2.LUT(np.asarray(code), removable), dtype=np.uint8)
        if np.count_nonzero(pixels) == before:
            return pixels[1:-1, 1:-1].astype(np.bool_)


def _table(is_second: bool) -> npt.NDArray[np.uint8]:
    """For each neighbourhood 0 where its pixel goes in the first or second half of a round, else 1."""
    codes = np.arange(256)
    x = [(codes >> bit) % 2 == 1 for bit in range(8)]
    pairs = range(0, 8, 2)
    crossings = sum(~x[i] & (x[i + 1] | x[(i + 2) % 8]) for i in pairs)
    one_way = sum((x[i] | x[i + 1]).astype(int) for i in pairs)
    other_way = sum((x[i + 1] | x[(i + 2) % 8]).astype(int) for i in pairs)
    neighbours = np.minimum(one_way, other_way)
    turn = 4 if is_second else 0
    blocked = (x[1 + turn] | x[2 + turn] | ~x[(7 + turn) % 8]) & x[turn]
    goes = (crossings == 1) & (neighbours >= 2) & (neighbours <= 3) & ~blocked
    return np.asarray(~goes, dtype=np.uint8)


_REMOVABLE = (_table(is_second=False), _table(is_second=True))
