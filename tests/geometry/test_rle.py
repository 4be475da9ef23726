"""Run-length encoding against cases written out by an independent encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.errors import InputError
from segloop.geometry.rle import (
    Rle,
    decode_rle,
    decode_rle_window,
    encode_rle,
    encode_rle_window,
)

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "rle.json").read_text())


def mask_of(case: dict) -> np.ndarray:
    return np.array([[pixel == "1" for pixel in row] for row in case["rows"]])


@pytest.mark.parametrize("case", VECTORS["masks"], ids=lambda case: str(case["size"]))
def test_both_directions_agree_with_the_shared_cases(case: dict) -> None:
    mask = mask_of(case)
    rle = encode_rle(mask)
    assert rle.to_json() == {"size": case["size"], "counts": case["counts"]}
    np.testing.assert_array_equal(decode_rle(Rle(tuple(case["size"]), case["counts"])), mask)


@pytest.mark.parametrize("case", VECTORS["masks"], ids=lambda case: str(case["size"]))
def test_plain_run_lengths_are_read(case: dict) -> None:
    rle = Rle.from_json({"size": case["size"], "counts": case["runs"]})
    np.testing.assert_array_equal(decode_rle(rle), mask_of(case))


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_any_mask_comes_back(height: int, width: int, density: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    record = json.loads(json.dumps(encode_rle(mask).to_json()))
    np.testing.assert_array_equal(decode_rle(Rle.from_json(record)), mask)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"size": [2, 2]},
        {"size": [2], "counts": "04"},
        {"size": "no", "counts": "04"},
        {"size": [2, 2], "counts": 7},
        {"size": [2, 2], "counts": [1, 1]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": ["4"]},
    ],
)
def test_a_broken_record_is_the_users_mistake(record: dict) -> None:
    with pytest.raises(InputError):
        Rle.from_json(record)


@pytest.mark.parametrize(
    "counts", ["", "0", "0`", "0`01", "00`0`0", "\x7f", "0 `0", "é", "0?", "0" * 9 + "`" * 20 + "0"]
)
def test_runs_that_do_not_fill_the_size_are_the_users_mistake(counts: str) -> None:
    assert encode_rle(np.ones((4, 4), dtype=bool)).counts == "0`0"
    with pytest.raises(InputError, match="do not fit"):
        decode_rle(Rle((4, 4), counts))
    with pytest.raises(InputError, match="do not fit"):
        decode_rle(Rle((4, 5), "0`0"))


@given(st.data())
def test_a_window_is_that_part_of_the_mask(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    pixels = st.lists(st.booleans(), min_size=height * width, max_size=height * width)
    mask = np.array(data.draw(pixels)).reshape(height, width)
    x0, x1 = sorted(data.draw(st.tuples(st.integers(0, width), st.integers(0, width))))
    y0, y1 = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
    window = decode_rle_window(encode_rle(mask), (x0, y0, x1, y1))
    np.testing.assert_array_equal(window, mask[y0:y1, x0:x1])


@pytest.mark.parametrize("counts", ["", "04", "P1", "~"])
def test_a_window_of_broken_runs_is_an_error(counts: str) -> None:
    with pytest.raises(InputError, match="do not fit its size"):
        decode_rle_window(Rle((3, 3), counts), (0, 0, 1, 1))


def pasted(pixels: np.ndarray, origin_xy: tuple[int, int], size_hw: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size_hw, dtype=bool)
    x, y = origin_xy
    mask[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return mask


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_a_window_is_written_as_the_whole_mask_is(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    x0, x1 = sorted(data.draw(st.tuples(st.integers(0, width), st.integers(0, width))))
    y0, y1 = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
    density = data.draw(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    pixels = draw.random((y1 - y0, x1 - x0)) < density
    expected = encode_rle(pasted(pixels, (x0, y0), (height, width)))
    assert encode_rle_window(pixels, (x0, y0), (height, width)) == expected


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (7, 1), (4, 6)])
@pytest.mark.parametrize("margins", range(16), ids="{:04b}".format)
def test_full_windows_at_any_of_the_borders(size_hw: tuple[int, int], margins: int) -> None:
    height, width = size_hw
    left, top, right, bottom = ((margins >> side) & 1 for side in range(4))
    inner_hw = (max(height - top - bottom, 0), max(width - left - right, 0))
    origin_xy = (left if inner_hw[1] else 0, top if inner_hw[0] else 0)
    pixels = np.ones(inner_hw, dtype=bool)
    expected = encode_rle(pasted(pixels, origin_xy, size_hw))
    assert encode_rle_window(pixels, origin_xy, size_hw) == expected


def test_a_run_goes_on_over_the_foot_of_a_column() -> None:
    pixels = np.array([[False, True], [True, True], [True, False]])
    # Down the columns of an image of 3 by 4, from column 1 on: ...|.##|##.|...
    expected = Rle.from_json({"size": [3, 4], "counts": [4, 4, 4]})
    assert encode_rle_window(pixels, (1, 0), (3, 4)) == expected
    # With a row more below, the two runs stay two.
    expected = Rle.from_json({"size": [4, 4], "counts": [5, 2, 1, 2, 6]})
    assert encode_rle_window(pixels, (1, 0), (4, 4)) == expected


def test_a_window_may_be_a_view_of_a_larger_array() -> None:
    whole = np.random.default_rng(0).random((30, 40)) < 0.5
    for pixels in (whole[3:20:2, 5:30:3], whole.T[4:20, 2:11], np.asfortranarray(whole[:9, :8])):
        expected = encode_rle(pasted(pixels, (6, 7), (50, 60)))
        assert encode_rle_window(pixels, (6, 7), (50, 60)) == expected


@pytest.mark.parametrize("origin_xy", [(-1, 0), (0, -1), (3, 0), (0, 2)])
def test_a_window_outside_of_the_image_is_our_own_mistake(origin_xy: tuple[int, int]) -> None:
    with pytest.raises(AssertionError):
        encode_rle_window(np.ones((2, 3), dtype=bool), origin_xy, (3, 5))
