"""Greedy suppression against small tables and against the plainest way to do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.masks import mask_boxes, mask_iou
from segloop.geometry.rle import encode_rle
from segloop.geometry.suppression import suppress_boxes, suppress_masks

# Decimals to be read as such: an overlap of exactly that share must not suppress.
THRESHOLDS = [Fraction(part, 100) for part in (0, 10, 30, 50, 60, 65, 70, 85, 90, 99)]

Box = tuple[int, int, int, int]
spans = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted)
boxes = st.tuples(spans, spans).map(lambda pair: (pair[0][0], pair[1][0], pair[0][1], pair[1][1]))
scored = st.lists(st.tuples(boxes, st.sampled_from([0.1, 0.2, 0.3, 0.4])), max_size=12)


def keep(scores: Sequence[float], exceeds: Callable[[int, int], bool]) -> list[int]:
    kept: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: (-scores[row], row)):
        if not any(exceeds(row, better) for better in kept):
            kept.append(row)
    return kept


def exact_iou(first: Box, second: Box) -> Fraction:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    union = sum(areas) - shared
    return Fraction(shared, union) if union else Fraction(0)


def kept_boxes(rows: Sequence[Box], scores: Sequence[float], threshold: float) -> list[int]:
    table = np.array(rows, dtype=np.float32).reshape(-1, 4)
    kept = suppress_boxes(table, np.array(scores, dtype=np.float32), threshold)
    assert kept.dtype == np.int64
    return kept.tolist()


def encoded(masks: np.ndarray) -> EncodedMasks:
    none = np.zeros(len(masks), dtype=np.float32)
    return EncodedMasks(
        image_hw=masks.shape[1:],
        rles=tuple(encode_rle(mask) for mask in masks),
        boxes_xyxy=mask_boxes(masks),
        areas=masks.sum(axis=(1, 2)),
        predicted_iou=none,
        stability_score=none,
        points_xy=np.zeros((len(masks), 2), dtype=np.float32),
        crop_boxes_xyxy=np.zeros((len(masks), 4), dtype=np.float32),
        prompt_index=np.arange(len(masks)),
        output_index=np.ones(len(masks), dtype=np.int64),
    )


def kept_masks(masks: np.ndarray, scores: Sequence[float], threshold: float) -> list[int]:
    kept = suppress_masks(encoded(masks), np.array(scores, dtype=np.float32), threshold)
    assert kept.dtype == np.int64
    return kept.tolist()


@pytest.mark.parametrize(
    ("rows", "scores", "expected"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([(0, 0, 10, 10), (0, 0, 10, 7)], [0.9, 0.8], [0, 1], id="IoU of exactly 0.7"),
        pytest.param([(0, 0, 100, 10), (0, 0, 71, 10)], [0.9, 0.8], [0], id="IoU of 0.71"),
        pytest.param([(0, 0, 71, 10), (0, 0, 100, 10)], [0.8, 0.9], [1], id="the better stays"),
        pytest.param([(0, 0, 5, 5), (9, 9, 14, 14)], [0.1, 0.9], [1, 0], id="best first"),
        pytest.param([(0, 0, 5, 5)] * 3, [0.5, 0.5, 0.5], [0], id="equal scores: the earlier"),
        pytest.param(
            [(0, 0, 5, 5), (0, 0, 5, 5), (50, 0, 55, 5)],
            [0.5, 0.6, 0.6],
            [1, 2],
            id="ties in order",
        ),
        # 80/120 at each step of 20: the second goes, so that nothing keeps the third from staying.
        pytest.param(
            [(0, 0, 100, 1), (10, 0, 110, 1), (20, 0, 120, 1)],
            [0.9, 0.8, 0.7],
            [0, 2],
            id="what is suppressed suppresses nothing",
        ),
        pytest.param([(3, 3, 3, 9)] * 2, [0.9, 0.8], [0, 1], id="no area"),
        pytest.param([(0, 0, 9, 9), (4, 4, 4, 4)], [0.1, 0.9], [1, 0], id="a point in a box"),
        pytest.param([(0, 0, 9, 9), (-20, -20, -11, -11)], [0.9, 0.8], [0, 1], id="far apart"),
    ],
)
def test_boxes_kept(rows: list[Box], scores: list[float], expected: list[int]) -> None:
    assert kept_boxes(rows, scores, 0.7) == expected


@pytest.mark.parametrize("threshold", THRESHOLDS[1:], ids=str)
@pytest.mark.parametrize("height", [1, 13, 31, 97])
def test_an_overlap_of_exactly_the_threshold_suppresses_nothing(
    threshold: Fraction, height: int
) -> None:
    part = int(threshold * 100)
    rows = [(0, 0, 100, height), (0, 0, part, height)]
    assert kept_boxes(rows, [0.9, 0.8], float(threshold)) == [0, 1]
    assert kept_boxes([rows[0], (0, 0, part + 1, height)], [0.9, 0.8], float(threshold)) == [0]


@given(scored, st.sampled_from(THRESHOLDS))
def test_boxes_are_kept_as_the_plainest_way_keeps_them(
    rows: list[tuple[Box, float]], threshold: Fraction
) -> None:
    table, scores = [box for box, _ in rows], [score for _, score in rows]
    expected = keep(scores, lambda row, other: exact_iou(table[row], table[other]) > threshold)
    assert kept_boxes(table, scores, float(threshold)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_kept_as_the_overlaps_of_pycocotools_have_it(seed: int) -> None:
    draw = np.random.default_rng(seed)
    corners = draw.uniform(0, 60, size=(150, 2))
    table = np.concatenate([corners, corners + draw.uniform(10, 60, size=(150, 2))], axis=1)
    table = table.astype(np.float32)
    scores = draw.choice(np.linspace(0, 1, 40), size=150).astype(np.float32)
    sized = np.concatenate([table[:, :2], table[:, 2:] - table[:, :2]], axis=1).astype(np.float64)
    overlaps = coco_mask.iou(sized, sized, [0] * len(sized))
    expected = keep(scores.tolist(), lambda row, other: overlaps[row, other] > 0.4)
    assert 10 < len(expected) < 140
    assert suppress_boxes(table, scores, 0.4).tolist() == expected


def test_two_masks_in_one_box_both_stay() -> None:
    rows, columns = np.mgrid[:20, :20]
    masks = np.stack([rows >= columns, rows <= columns])  # the two halves of a square
    assert (mask_boxes(masks) == [0, 0, 19, 19]).all()
    assert kept_masks(masks, [0.9, 0.8], 0.7) == [0, 1]
    assert kept_boxes([(0, 0, 19, 19)] * 2, [0.9, 0.8], 0.7) == [0]


def test_of_two_nearly_equal_masks_with_different_boxes_one_goes() -> None:
    masks = np.zeros((2, 30, 60), dtype=bool)
    masks[:, 5:25, 2:22] = True
    masks[1, 15, 22:58] = True  # a thread that reaches far
    assert kept_boxes([(2, 5, 21, 24), (2, 5, 57, 24)], [0.9, 0.8], 0.7) == [0, 1]
    assert kept_masks(masks, [0.9, 0.8], 0.7) == [0]
    assert kept_masks(masks, [0.8, 0.9], 0.7) == [1]


@pytest.mark.parametrize("part", [70, 71])
def test_masks_with_a_share_of_exactly_the_threshold_stay(part: int) -> None:
    masks = np.zeros((2, 10, 10), dtype=bool)
    masks[0] = True
    masks[1].flat[:part] = True
    assert kept_masks(masks, [0.9, 0.8], 0.7) == ([0, 1] if part == 70 else [0])


def test_equal_masks_of_equal_score_leave_the_earlier() -> None:
    masks = np.ones((3, 4, 4), dtype=bool)
    assert kept_masks(masks, [0.5, 0.5, 0.5], 0.7) == [0]
    assert kept_masks(masks, [0.5, 0.6, 0.5], 0.7) == [1]


def test_a_suppressed_mask_suppresses_nothing() -> None:
    masks = np.zeros((3, 1, 120), dtype=bool)
    for row, start in enumerate([0, 10, 20]):
        masks[row, :, start : start + 100] = True
    assert kept_masks(masks, [0.9, 0.8, 0.7], 0.7) == [0, 2]


def test_masks_of_one_pixel_have_a_box_of_one_pixel() -> None:
    masks = np.zeros((3, 4, 4), dtype=bool)
    masks[:2, 3, 3] = True
    masks[2, 3, 2] = True
    assert kept_masks(masks, [0.9, 0.8, 0.7], 0.7) == [0, 2]


def test_empty_masks_suppress_nothing() -> None:
    masks = np.zeros((3, 4, 4), dtype=bool)
    masks[2, 0, 0] = True
    assert kept_masks(masks, [0.9, 0.8, 0.7], 0.0) == [0, 1, 2]
    assert kept_masks(masks[:0], [], 0.7) == []


@given(st.data())
@settings(deadline=None)
def test_masks_are_kept_as_the_plainest_way_keeps_them(data: st.DataObject) -> None:
    count, side = data.draw(st.integers(0, 10)), data.draw(st.integers(1, 8))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    # Few kinds with small changes: many overlaps lie about the threshold.
    kinds = draw.random((3, side, side)) < draw.uniform(0.1, 0.9)
    masks = kinds[draw.integers(0, 3, size=count)] ^ (draw.random((count, side, side)) < 0.08)
    scores = draw.choice([0.25, 0.5, 0.75], size=count).tolist()
    threshold = float(data.draw(st.sampled_from(THRESHOLDS)))

    def exceeds(row: int, other: int) -> bool:
        if not (masks[row] | masks[other]).any():
            return False
        return bool(mask_iou(masks[row], masks[other]) > np.float32(threshold))

    assert kept_masks(masks, scores, threshold) == keep(scores, exceeds)
