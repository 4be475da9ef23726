"""Each filter alone, on masks made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from segloop.geometry.encoded import EncodedMasks
from segloop.predict import filters

IMAGE_HW = (100, 200)
Box = tuple[int, int, int, int]


def boxes_as_masks(
    boxes: Sequence[Box],
    scores: Sequence[float] | None = None,
    stability: Sequence[float] | None = None,
    crop: Box = (0, 0, 200, 100),
) -> EncodedMasks:
    """Filled boxes x0, y0, x1, y1, ends exclusive."""
    masks = np.zeros((len(boxes), *IMAGE_HW), dtype=np.bool_)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return encoded(masks, scores, stability, crop)


def encoded(
    masks: np.ndarray,
    scores: Sequence[float] | None = None,
    stability: Sequence[float] | None = None,
    crop: Box = (0, 0, 200, 100),
) -> EncodedMasks:
    count = len(masks)
    return EncodedMasks.encode(
        masks,
        predicted_iou=np.array(scores or [0.9] * count, dtype=np.float32),
        stability_score=np.array(stability or [1.0] * count, dtype=np.float32),
        crop_boxes_xyxy=np.tile(np.array(crop, dtype=np.float32), (count, 1)),
    )


def test_masks_as_stable_as_asked_stay() -> None:
    masks = boxes_as_masks([(0, 0, 9, 9)] * 3, stability=[0.5, 0.25, 0.75])
    assert filters.stable(masks, 0.5).tolist() == [True, False, True]


def test_masks_that_cover_the_share_go() -> None:
    masks = boxes_as_masks([(0, 0, 200, 95), (0, 0, 200, 94), (0, 0, 200, 100)])
    assert filters.not_covering(masks, 0.95).tolist() == [False, True, False]


def test_masks_cut_off_by_their_crop_go_but_for_the_images_own_border() -> None:
    crop = (100, 0, 200, 80)
    table = [
        ((130, 10, 170, 50), True),  # inside
        ((121, 10, 170, 50), True),  # 21 pixels from the left border
        ((120, 10, 170, 50), False),  # 20 pixels
        ((130, 10, 170, 60), True),  # last row 59, 21 pixels from the lower border
        ((130, 10, 170, 61), False),  # last row 60, 20 pixels
        ((130, 0, 200, 50), True),  # at the image's own top and right
    ]
    masks = boxes_as_masks([box for box, _ in table], crop=crop)
    assert filters.whole(masks).tolist() == [kept for _, kept in table]


def test_nothing_is_cut_off_where_the_crop_is_the_image() -> None:
    masks = boxes_as_masks([(0, 0, 200, 100), (0, 40, 10, 60), (150, 90, 200, 100)])
    assert filters.whole(masks).all()


def test_of_two_boxes_the_better_predicted_stays() -> None:
    masks = boxes_as_masks(
        [(0, 0, 41, 41), (2, 0, 43, 41), (100, 0, 141, 41)], scores=[0.8, 0.9, 0.7]
    )
    assert filters.distinct_boxes(masks, 0.7).tolist() == [1, 2]
    assert filters.distinct_boxes(masks, 0.95).tolist() == [1, 0, 2]


def test_of_two_crops_the_smaller_keeps_its_mask() -> None:
    large = boxes_as_masks([(20, 20, 61, 61)], scores=[0.99])
    small = boxes_as_masks([(21, 20, 62, 61), (120, 20, 150, 50)], crop=(0, 0, 180, 90))
    masks = EncodedMasks.concatenate([large, small])
    assert sorted(filters.distinct_across_crops(masks, 0.7).tolist()) == [1, 2]


def test_masks_are_told_apart_where_boxes_are_not() -> None:
    crossed = np.zeros((3, *IMAGE_HW), dtype=np.bool_)
    crossed[0] = np.tri(*IMAGE_HW, dtype=np.bool_)
    crossed[1] = ~crossed[0]
    crossed[2] = crossed[0]
    crossed[2, :3] = False
    crossed[:, 0, 0] = crossed[:, -1, -1] = True
    masks = encoded(crossed, scores=[0.9, 0.8, 0.95])
    assert filters.distinct_masks(masks, 0.7).tolist() == [2, 1]


def test_a_preferred_mask_outlives_an_earlier_one() -> None:
    masks = boxes_as_masks([(0, 0, 41, 41), (1, 0, 42, 41), (100, 0, 141, 41)])
    preferred = np.array([False, True, False])
    assert filters.preferring(masks, preferred, 0.7).tolist() == [1, 2]


@pytest.mark.parametrize("keeps_largest", [True, False])
def test_regions_are_cleaned_and_their_columns_with_them(keeps_largest: bool) -> None:
    scene = np.zeros((3, *IMAGE_HW), dtype=np.bool_)
    scene[0, 10:50, 10:50] = True
    scene[1] = scene[0]
    scene[1, 20:23, 20:23] = False  # a hole of 9 pixels
    scene[1, 60:63, 60:63] = True  # an island of 9 pixels
    scene[2, 80:82, 80:83] = True
    masks, untouched = filters.clean_regions(encoded(scene), 10, keeps_largest=keeps_largest)
    # As in the released generator, a mask of small islands only counts as touched though its largest stays.
    assert untouched.tolist() == [True, False, False]
    np.testing.assert_array_equal(masks.mask(1), scene[0])
    assert masks.areas.tolist() == [1600, 1600, 6 if keeps_largest else 0]
    np.testing.assert_array_equal(masks.boxes_xyxy[1], [10, 10, 49, 49])
    assert masks.rles[0] == masks.rles[1]


def test_holes_are_filled_before_islands_are_judged() -> None:
    """A ring of 16 pixels around a hole of 9: an island of 25."""
    scene = np.zeros((1, *IMAGE_HW), dtype=np.bool_)
    scene[0, 10:15, 10:15] = True
    scene[0, 11:14, 11:14] = False
    masks, _ = filters.clean_regions(encoded(scene), 20, keeps_largest=False)
    assert masks.areas.tolist() == [25]
