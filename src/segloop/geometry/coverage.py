"""How much of each cell of a grid a mask covers, from its run lengths alone: no pixel is decoded.

The number of true pixels before place k, going down the columns, is a broken line with a corner at the end of each run. So
is what a column holds above a row, and the sum of that over columns; reading these lines at the borders of the cells gives
the exact area in each, in time of the runs and of the cells about the object.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segloop.geometry.frames import FloatArray
from segloop.geometry.rle import Rle, run_ends

Borders = npt.NDArray[np.float64]


def cover_grid(rle: Rle, columns: Borders, rows: Borders) -> FloatArray:
    """True pixels (R, C) within the cells between columns (C + 1,) and rows (R + 1,), in fractions of pixels.

    columns, rows: borders in pixels of the image, from low to high. Raises InputError where the runs do not fill the mask's
    size.
    """
    height, width = rle.size_hw
    assert 0 <= columns[0] <= columns[-1] <= width
    assert 0 <= rows[0] <= rows[-1] <= height
    ends = run_ends(rle)
    area = np.zeros((len(rows) - 1, len(columns) - 1), dtype=np.float32)
    starts, stops = ends[:-1:2], ends[1::2]
    if not len(stops):
        return area
    # A mask that begins at once has an empty first run, so true runs are always the odd ones.
    starts = starts[: len(stops)]
    firsts, lasts = starts // height, (stops - 1) // height
    x0, x1 = int(firsts[0]), int(lasts[-1]) + 1
    y0, y1 = 0, height
    if (firsts == lasts).all():
        y0, y1 = int((starts % height).min()), int(((stops - 1) % height).max()) + 1
    across, down = _cells(columns, x0, x1), _cells(rows, y0, y1)
    if across.start == across.stop or down.start == down.stop:
        return area
    own_columns = columns[across.start : across.stop + 1]
    own_rows = rows[down.start : down.stop + 1]
    first, last = int(own_columns[0]), int(np.ceil(own_columns[-1]))
    first, last = max(first, x0), min(last, x1)

    counted = np.cumsum(np.diff(ends, prepend=0) * (np.arange(len(ends)) % 2))
    corners = np.concatenate([[0], ends])
    heights = np.concatenate([[0], counted])
    places = np.arange(first, last)[:, None] * height + own_rows
    above = np.interp(places.ravel(), corners, heights).reshape(places.shape)
    in_rows = np.diff(above, axis=1)
    before = np.concatenate([np.zeros((1, in_rows.shape[1])), np.cumsum(in_rows, axis=0)])
    area[down, across] = np.diff(_read_lines(before, own_columns - first), axis=0).T
    return area


def _cells(borders: Borders, start: int, stop: int) -> slice:
    """Those that reach into start to stop."""
    low = int(np.searchsorted(borders, start, side="right")) - 1
    high = int(np.searchsorted(borders, stop, side="left"))
    return slice(min(max(low, 0), len(borders) - 1), min(max(high, 0), len(borders) - 1))


def _read_lines(values: Borders, at: Borders) -> Borders:
    """Rows of values (N + 1, R), each column a broken line with its corners at 0, 1, ... N, read at places (C,)."""
    at = np.clip(at, 0, len(values) - 1)
    whole = np.minimum(at.astype(np.int64), len(values) - 2)
    rest = (at - whole)[:, None]
    lines: Borders = values[whole] * (1 - rest) + values[whole + 1] * rest
    return lines
