"""Grid points and crop boxes, worked out by hand, and what must hold for any image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from segloop.geometry.grids import Crop, crop_layers, point_grid

RELEASED_OVERLAP = 512 / 1500

whole_boxes = st.tuples(
    st.integers(0, 50), st.integers(0, 50), st.integers(1, 400), st.integers(1, 400)
).map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3]))
overlaps = st.sampled_from([0.0, 0.1, RELEASED_OVERLAP, 0.5, 1.0])

# Overlap int(512 / 1500 * 1000 * 2 / 2) = 341: crops of ceil((341 + 1500) / 2) by ceil((341 + 1000) / 2).
LAYER_1 = [
    (0, 0, 921, 671),
    (0, 330, 921, 1000),
    (580, 0, 1500, 671),
    (580, 330, 1500, 1000),
]
# Overlap int(512 / 1500 * 1000 * 2 / 4) = 170: crops of ceil((510 + 1500) / 4) by ceil((510 + 1000) / 4).
LAYER_2 = [
    (x0, y0, x1, y1)
    for x0, x1 in [(0, 503), (333, 836), (666, 1169), (999, 1500)]
    for y0, y1 in [(0, 378), (208, 586), (416, 794), (624, 1000)]
]


def boxes_of(crops: list[Crop], layer: int) -> list[tuple[int, int, int, int]]:
    return [crop.box_xyxy for crop in crops if crop.layer == layer]


def test_points_lie_at_cell_centres_row_by_row() -> None:
    points = point_grid(2)
    np.testing.assert_array_equal(points, [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
    assert points.dtype == np.float32
    np.testing.assert_array_equal(point_grid(1), [[0.5, 0.5]])


@pytest.mark.parametrize("side", [3, 8, 32])
def test_any_grid_has_each_cell_once(side: int) -> None:
    points = point_grid(side)
    assert points.shape == (side * side, 2)
    for number, (x, y) in enumerate(points.tolist()):
        row, column = divmod(number, side)
        assert x == pytest.approx((2 * column + 1) / (2 * side), abs=1e-6)
        assert y == pytest.approx((2 * row + 1) / (2 * side), abs=1e-6)


def test_no_layers_is_the_whole_alone() -> None:
    assert crop_layers((0, 0, 30, 20), 0, RELEASED_OVERLAP) == [Crop((0, 0, 30, 20), 0)]


def test_crops_of_two_layers_are_those_worked_out_by_hand() -> None:
    crops = crop_layers((0, 0, 1500, 1000), 2, RELEASED_OVERLAP)
    expected = [(0, (0, 0, 1500, 1000))]
    expected += [(1, box) for box in LAYER_1] + [(2, box) for box in LAYER_2]
    assert [(crop.layer, crop.box_xyxy) for crop in crops] == expected


def test_the_short_side_sets_the_overlap_of_an_upright_image_too() -> None:
    crops = crop_layers((0, 0, 1000, 1500), 2, RELEASED_OVERLAP)
    for layer, lying in [(1, LAYER_1), (2, LAYER_2)]:
        turned = {(y0, x0, y1, x1) for x0, y0, x1, y1 in lying}
        assert set(boxes_of(crops, layer)) == turned


def test_crops_of_a_region_stay_in_it() -> None:
    crops = crop_layers((200, 70, 1700, 1070), 2, RELEASED_OVERLAP)
    moved = [(x0 + 200, y0 + 70, x1 + 200, y1 + 70) for x0, y0, x1, y1 in LAYER_1]
    assert crops[0] == Crop((200, 70, 1700, 1070), 0)
    assert boxes_of(crops, 1) == moved


def test_a_thin_image_has_only_crops_with_pixels() -> None:
    # Overlaps int(1.02) = 1 and int(0.51) = 0; in layer 2 three rows make four crops of one row, the last is empty.
    crops = crop_layers((0, 0, 100, 3), 2, RELEASED_OVERLAP)
    assert boxes_of(crops, 1) == [(0, 0, 51, 2), (0, 1, 51, 3), (50, 0, 100, 2), (50, 1, 100, 3)]
    assert boxes_of(crops, 2) == [
        (x0, y, x0 + 25, y + 1) for x0 in (0, 25, 50, 75) for y in (0, 1, 2)
    ]


def test_a_single_pixel_is_its_own_crop_once_a_layer() -> None:
    crops = crop_layers((4, 5, 5, 6), 3, RELEASED_OVERLAP)
    assert [(crop.box_xyxy, crop.layer) for crop in crops] == [
        ((4, 5, 5, 6), layer) for layer in range(4)
    ]


@given(whole_boxes, st.integers(0, 3), overlaps)
def test_each_layer_covers_the_whole_and_nothing_else(
    whole: tuple[int, int, int, int], num_layers: int, overlap: float
) -> None:
    left, top, right, bottom = whole
    crops = crop_layers(whole, num_layers, overlap)
    assert {crop.layer for crop in crops} == set(range(num_layers + 1))
    for layer in range(num_layers + 1):
        covered = np.zeros((bottom, right), dtype=bool)
        for x0, y0, x1, y1 in boxes_of(crops, layer):
            assert left <= x0 < x1 <= right
            assert top <= y0 < y1 <= bottom
            covered[y0:y1, x0:x1] = True
        assert covered[top:, left:].all()
        assert len(boxes_of(crops, layer)) <= 4**layer


@given(st.integers(64, 600), st.integers(64, 600), st.integers(1, 3), overlaps)
def test_neighbours_share_the_overlap_to_the_pixel(
    width: int, height: int, layer: int, overlap: float
) -> None:
    shared = int(overlap * min(width, height) * 2 / 2**layer)
    boxes = boxes_of(crop_layers((0, 0, width, height), layer, overlap), layer)
    for axis, length in [(0, width), (1, height)]:
        spans = sorted({(box[axis], box[axis + 2]) for box in boxes})
        assume(len(spans) == 2**layer)
        # The last one may be cut at the image's end; each starts where the one before has the overlap left.
        assert [end - start for (_, end), (start, _) in itertools.pairwise(spans)] == [shared] * (
            2**layer - 1
        )
        assert spans[0][0] == 0
        assert spans[-1][1] == length


def test_a_crop_holds_its_first_pixel_and_not_its_end() -> None:
    crop = Crop((10, 20, 30, 50), 1)
    assert crop.size_hw == (30, 20)
    inside = [(10, 20), (29.9, 49.9), (10, 49.9), (29.9, 20)]
    outside = [(9.9, 20), (10, 19.9), (30, 30), (20, 50)]
    points = np.array(inside + outside, dtype=np.float32)
    assert crop.holds(points).tolist() == [True] * 4 + [False] * 4
