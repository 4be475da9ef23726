from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segloop.data.sets.outlines import (
    Outline,
    Outlines,
    check_within,
    read_json,
    read_outline,
    read_polygon,
    rle_of_nested_polygons,
    rle_of_polygons,
)
from segloop.errors import InputError
from segloop.geometry.rle import decode_rle, encode_rle

SQUARE = (2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0)


def test_polygons_are_filled_together() -> None:
    mask = decode_rle(rle_of_polygons([SQUARE, (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0)], (6, 8)))
    expected = np.zeros((6, 8), dtype=np.bool_)
    expected[1:4, 2:6] = True
    expected[0, 0] = True
    assert np.array_equal(mask, expected)


def test_a_polygon_within_another_is_a_hole() -> None:
    inner = (3.0, 2.0, 7.0, 2.0, 7.0, 6.0, 3.0, 6.0)
    outer = (1.0, 0.0, 9.0, 0.0, 9.0, 8.0, 1.0, 8.0)
    mask = Outline(1, "ring", (outer, inner), has_holes=True).encode((10, 12))
    expected = np.zeros((10, 12), dtype=np.bool_)
    expected[0:9, 1:10] = True
    expected[3:6, 4:7] = False
    assert np.array_equal(decode_rle(mask), expected)
    assert np.array_equal(
        decode_rle(rle_of_nested_polygons([(), outer], (10, 12))), expected | (mask_of(inner))
    )


def mask_of(polygon: tuple[float, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return decode_rle(rle_of_nested_polygons([polygon], (10, 12)))


def test_polygons_of_two_corners_have_no_inside() -> None:
    assert not decode_rle(rle_of_polygons([(1.0, 1.0, 5.0, 5.0)], (6, 8))).any()
    assert not decode_rle(rle_of_polygons([], (6, 8))).any()


def test_outlines_become_annotations_and_crowds_are_not_counted() -> None:
    runs = np.zeros((6, 8), dtype=np.bool_)
    runs[5, 5:] = True
    truth = Outlines(
        (Outline(3, "car", (SQUARE,)), Outline(4, "cars", rle=encode_rle(runs), is_crowd=True)),
        (6, 8),
    )
    car, cars = truth.annotations((6, 8))
    assert truth.count() == 1
    assert (car.id, car.category, car.area, car.is_crowd) == (3, "car", 12.0, False)
    assert np.array_equal(cars.mask(), runs)
    assert cars.is_crowd


def test_an_image_of_another_size_is_refused() -> None:
    message = r"is for an image of \(6, 8\) \(height, width\), it has \(8, 6\)$"
    with pytest.raises(InputError, match=message):
        Outlines((Outline(1, None, (SQUARE,)),), (6, 8)).annotations((8, 6))
    runs = encode_rle(np.ones((6, 8), dtype=np.bool_))
    with pytest.raises(InputError, match=message):
        Outlines((Outline(1, None, rle=runs),)).annotations((8, 6))


def test_polygons_come_flat_or_in_pairs() -> None:
    assert read_polygon([1, 2, 3, 4, 5, 6]) == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert read_polygon([[1, 2], [3, 4], [5, 6]]) == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    for wrong in ([1, 2, 3], [1, float("nan")], [float("inf"), 2], [1, -1e9]):
        with pytest.raises(ValueError, match="pairs of finite numbers"):
            read_polygon(wrong)


def test_a_file_that_is_missing_or_no_json_is_named(
    tmp_path: Path, save_json: Callable[..., Path]
) -> None:
    assert read_json(save_json("a.json", {"b": [1]})) == {"b": [1]}
    with pytest.raises(InputError, match=r"cannot read .*none\.json: No such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(InputError, match=r"c\.json is not JSON"):
        read_json(tmp_path / "c.json")


def test_a_polygon_may_hang_over_by_what_rounding_does() -> None:
    for one in ((-2.0, 0.0, 202.0, 0.0, 90.0, 101.0), (0.0, -1.0, 5.0, 5.0, 0.0, 9.0), ()):
        check_within(one, (100, 200))
    check_within((-0.01, 0.0, 1.0, 1.01, 0.0, 0.5), (1.0, 1.0))
    for number in (102.0, -1.5, float("nan"), float("inf")):
        with pytest.raises(InputError, match="an outline larger than the image"):
            check_within((0.0, 0.0, 150.0, number, 3.0, 3.0), (100, 200))


def test_shapes_of_coco_are_polygons_or_run_lengths() -> None:
    runs = encode_rle(np.ones((6, 8), dtype=np.bool_))
    assert read_outline({"id": 1}, "car", [list(SQUARE)]) == Outline(1, "car", (SQUARE,))
    crowd = read_outline({"id": 2, "iscrowd": 1}, "car", runs.to_json())
    assert crowd == Outline(2, "car", rle=runs, is_crowd=True)
    with pytest.raises(InputError, match="'size'"):
        read_outline({"id": 1}, "car", {"counts": ""})
