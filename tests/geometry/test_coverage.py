from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segloop.errors import InputError
from segloop.geometry.coverage import cover_grid
from segloop.geometry.frames import BoolArray
from segloop.geometry.rle import Rle, encode_rle

Borders = npt.NDArray[np.float64]


def summed(mask: BoolArray, columns: Borders, rows: Borders) -> npt.NDArray[np.float64]:
    """The same from pixels: what of each row and of each column lies in each cell, as two matrices."""

    def overlaps(borders: Borders, length: int) -> npt.NDArray[np.float64]:
        starts = np.arange(length)
        low = np.maximum(borders[:-1, None], starts)
        return np.maximum(0.0, np.minimum(borders[1:, None], starts + 1) - low)

    height, width = mask.shape
    return overlaps(rows, height) @ mask.astype(float) @ overlaps(columns, width).T


@st.composite
def masks_and_grids(draw: st.DrawFn) -> tuple[BoolArray, Borders, Borders]:
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "box", "full", "pixel", "empty"]))
    mask = np.full((height, width), kind == "full")
    if kind == "noise":
        mask = rng.random((height, width)) < rng.random()
    elif kind == "box":
        top, bottom = sorted(rng.integers(0, height + 1, 2))
        left, right = sorted(rng.integers(0, width + 1, 2))
        mask[top:bottom, left:right] = True
    elif kind == "pixel":
        mask[rng.integers(height), rng.integers(width)] = True
    num_columns, num_rows = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    if draw(st.booleans()):
        return mask, np.linspace(0, width, num_columns + 1), np.linspace(0, height, num_rows + 1)
    return (
        mask,
        np.sort(rng.uniform(0, width, num_columns + 1)),
        np.sort(rng.uniform(0, height, num_rows + 1)),
    )


@given(masks_and_grids())
def test_it_is_what_summing_the_pixels_gives(case: tuple[BoolArray, Borders, Borders]) -> None:
    mask, columns, rows = case
    area = cover_grid(encode_rle(mask), columns, rows)
    assert area.dtype == np.float32
    np.testing.assert_allclose(area, summed(mask, columns, rows), atol=1e-4)


def test_cells_without_width_hold_nothing() -> None:
    mask = np.ones((4, 6), dtype=np.bool_)
    area = cover_grid(encode_rle(mask), np.array([0.0, 3, 6, 6, 6]), np.array([0.0, 4, 4]))
    np.testing.assert_array_equal(area, [[12, 12, 0, 0], [0, 0, 0, 0]])


def test_runs_without_length_change_nothing() -> None:
    plain = Rle.from_json({"size": [3, 4], "counts": [4, 5, 3]})
    padded = Rle.from_json({"size": [3, 4], "counts": [1, 0, 3, 2, 0, 3, 3, 0]})
    columns, rows = np.arange(5.0), np.arange(4.0)
    np.testing.assert_array_equal(
        cover_grid(padded, columns, rows), cover_grid(plain, columns, rows)
    )


def test_damaged_runs_are_one_line() -> None:
    with pytest.raises(InputError, match="run lengths do not fit its size"):
        cover_grid(Rle((5, 5), "04"), np.arange(6.0), np.arange(6.0))
