"""Holes and islands: pictures drawn by hand, and scipy as the judge of what hangs together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segloop.geometry.regions import drop_small_islands, fill_small_holes


def drawn(picture: str) -> np.ndarray:
    rows = [line.strip() for line in picture.split()]
    return np.array([[pixel == "#" for pixel in row] for row in rows])


TWO_HOLES = drawn(
    """
    #########
    #.###...#
    ##.##...#
    #########
    """
)
TWO_ISLANDS = ~TWO_HOLES


def test_a_hole_of_the_smallest_area_stays_and_one_below_is_filled() -> None:
    filled = fill_small_holes(TWO_HOLES, 3)
    expected = TWO_HOLES.copy()
    expected[1, 1] = expected[2, 2] = True  # two pixels, which touch at a corner
    np.testing.assert_array_equal(filled, expected)
    assert filled.dtype == np.bool_
    assert fill_small_holes(TWO_HOLES, 2) is TWO_HOLES
    np.testing.assert_array_equal(fill_small_holes(TWO_HOLES, 6), expected)
    assert fill_small_holes(TWO_HOLES, 7).all()


def test_an_island_of_the_smallest_area_stays_and_one_below_goes() -> None:
    cleaned = drop_small_islands(TWO_ISLANDS, 3)
    expected = TWO_ISLANDS.copy()
    expected[1, 1] = expected[2, 2] = False
    np.testing.assert_array_equal(cleaned, expected)
    assert cleaned.dtype == np.bool_
    assert drop_small_islands(TWO_ISLANDS, 2) is TWO_ISLANDS
    np.testing.assert_array_equal(drop_small_islands(TWO_ISLANDS, 6), expected)


def test_where_all_are_small_the_largest_stays_or_none() -> None:
    largest = TWO_ISLANDS.copy()
    largest[:, :4] = False
    np.testing.assert_array_equal(drop_small_islands(TWO_ISLANDS, 7), largest)
    assert not drop_small_islands(TWO_ISLANDS, 7, keeps_largest=False).any()
    # One that is large enough is no exception to what goes beside it.
    for keeps_largest in (False, True):
        cleaned = drop_small_islands(TWO_ISLANDS, 6, keeps_largest=keeps_largest)
        np.testing.assert_array_equal(cleaned, largest)


def test_a_gap_at_the_border_of_the_image_counts_as_a_hole() -> None:
    mask = drawn(
        """
        .####
        .####
        ####.
        """
    )
    expected = mask.copy()
    expected[2, 4] = True
    np.testing.assert_array_equal(fill_small_holes(mask, 2), expected)
    assert fill_small_holes(mask, 3).all()
    assert fill_small_holes(mask, 1) is mask


@pytest.mark.parametrize("is_set", [False, True])
def test_a_mask_of_one_kind_has_neither_hole_nor_island(is_set: bool) -> None:
    mask = np.full((3, 4), is_set)
    assert drop_small_islands(mask, 12) is mask
    assert fill_small_holes(mask, 12) is mask
    # Below the area all of it is one island, or one hole.
    np.testing.assert_array_equal(drop_small_islands(mask, 13), mask)
    assert not drop_small_islands(mask, 13, keeps_largest=False).any()
    assert fill_small_holes(mask, 13).all()


def test_holes_before_islands_saves_a_ring() -> None:
    ring = drawn(
        """
        .......
        .###...
        .#.#...
        .###...
        .......
        """
    )
    first_holes = drop_small_islands(fill_small_holes(ring, 9), 9, keeps_largest=False)
    first_islands = fill_small_holes(drop_small_islands(ring, 9, keeps_largest=False), 9)
    assert first_holes.sum() == 9
    assert not first_islands.any()


def test_the_mask_given_is_left_as_it_was() -> None:
    mask = TWO_HOLES.copy()
    fill_small_holes(mask, 7)
    drop_small_islands(mask, 100, keeps_largest=False)
    np.testing.assert_array_equal(mask, TWO_HOLES)


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([0.2, 0.4, 0.6, 0.8]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 30),
)
@settings(deadline=None)
def test_components_are_those_of_scipy(
    height: int, width: int, density: float, seed: int, min_area_px: int
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density

    def large_parts(pixels: np.ndarray) -> np.ndarray:
        labels, count = ndimage.label(pixels, structure=np.ones((3, 3)))
        parts = [labels == label for label in range(1, count + 1)]
        return sum((p for p in parts if p.sum() >= min_area_px), np.zeros_like(pixels))

    np.testing.assert_array_equal(fill_small_holes(mask, min_area_px), ~large_parts(~mask))
    large = large_parts(mask)
    cleaned = drop_small_islands(mask, min_area_px, keeps_largest=False)
    np.testing.assert_array_equal(cleaned, large)
    kept = drop_small_islands(mask, min_area_px)
    if large.any():
        np.testing.assert_array_equal(kept, large)
    elif mask.any():
        labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
        areas = np.bincount(labels.ravel())[1:]
        (label,) = np.unique(labels[kept])
        assert areas[label - 1] == areas.max() == kept.sum()
