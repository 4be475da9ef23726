from __future__ import annotations

import math

import pytest

from segloop.data.records import check_extent, check_scores, index_by_id
from segloop.errors import InputError


def test_records_keep_their_order() -> None:
    items = [{"id": 7}, {"id": "3"}, {"id": 5}]
    found = index_by_id(items, "image")
    assert list(found) == [7, 3, 5]
    assert list(found.values()) == items
    assert index_by_id([], "image") == {}


def test_a_number_given_twice_is_named() -> None:
    with pytest.raises(InputError, match=r"^more than one image has the number 7$"):
        index_by_id([{"id": 3}, {"id": 7}, {"id": 7}], "image")


def test_boxes_may_begin_outside_and_be_of_one_pixel() -> None:
    check_extent((-2, -0.5, 0, 0), 0)
    check_extent((0, 0, 3, 4), 12)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_measure_that_is_no_number_is_refused(place: int, value: float) -> None:
    numbers = [1.0, 2.0, 3.0, 4.0, 12.0]
    numbers[place] = value
    x, y, width, height, area = numbers
    with pytest.raises(InputError, match="its box and area must be finite numbers"):
        check_extent((x, y, width, height), area)


@pytest.mark.parametrize("place", [2, 3, 4])
def test_nothing_is_smaller_than_nothing(place: int) -> None:
    numbers = [1.0, 2.0, 3.0, 4.0, 12.0]
    numbers[place] = -1
    x, y, width, height, area = numbers
    with pytest.raises(InputError, match="no side and no area below 0"):
        check_extent((x, y, width, height), area)


def test_scores_are_numbers_of_any_sign() -> None:
    check_scores([])
    check_scores([-0.1, 1.2])
    for value in (math.nan, math.inf):
        with pytest.raises(InputError, match="its predicted IoU and stability must be finite"):
            check_scores([0.5, value])
