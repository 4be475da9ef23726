"""Label maps: who wins a pixel, and that every pixel is accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray
from segloop.geometry.label_map import LabelOrder, label_map


def encoded(masks: BoolArray, scores: Sequence[float]) -> EncodedMasks:
    return EncodedMasks.encode(masks, predicted_iou=np.array(scores, dtype=np.float32))


def spans(*ranges: tuple[int, int], width: int = 6) -> BoolArray:
    """Masks of one line of pixels each."""
    masks = np.zeros((len(ranges), 1, width), dtype=np.bool_)
    for mask, (start, stop) in zip(masks, ranges, strict=True):
        mask[0, start:stop] = True
    return masks


@pytest.mark.parametrize("order", ["area", "predicted_iou"])
def test_masks_apart_keep_their_rows_plus_one(order: LabelOrder) -> None:
    labels = label_map(encoded(spans((4, 6), (0, 3)), [0.9, 0.8]), order)
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[2, 2, 2, 0, 1, 1]]


def test_the_smaller_mask_wins_by_area_and_the_surer_one_by_predicted_iou() -> None:
    masks = encoded(spans((0, 6), (2, 4)), [0.9, 0.5])
    assert label_map(masks).tolist() == [[1, 1, 2, 2, 1, 1]]
    assert label_map(masks, "predicted_iou").tolist() == [[1] * 6]


def test_draws_go_to_the_other_measure_and_then_to_the_earlier_row() -> None:
    assert label_map(encoded(spans((0, 4), (2, 6)), [0.5, 0.9])).tolist() == [[1, 1, 2, 2, 2, 2]]
    level = encoded(spans((0, 4), (1, 3)), [0.7, 0.7])
    assert label_map(level, "predicted_iou").tolist() == [[1, 2, 2, 1, 0, 0]]
    for order in get_args(LabelOrder):
        drawn = label_map(encoded(spans((0, 4), (2, 6)), [0.7, 0.7]), order)
        assert drawn.tolist() == [[1, 1, 1, 1, 2, 2]]


def test_no_masks_and_empty_masks_leave_nothing() -> None:
    assert label_map(EncodedMasks.none((3, 4))).tolist() == [[0] * 4] * 3
    assert label_map(encoded(spans((2, 2), (0, 1)), [0.9, 0.1])).tolist() == [[2, 0, 0, 0, 0, 0]]


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(InputError, match="predicted_iou"):
        label_map(encoded(spans((0, 1)), [0.5]), "stability")  # type: ignore[arg-type]


def test_the_last_label_fits_and_one_more_is_refused() -> None:
    one = encoded(spans((0, 1)), [0.5])
    most = one.select(np.zeros(65535, dtype=np.int64))
    # All but the last row empty: the last label is the one seen.
    areas = np.zeros(65535, dtype=np.int64)
    areas[-1] = 1
    assert label_map(replace(most, areas=areas))[0, 0] == 65535
    with pytest.raises(InputError, match="65535"):
        label_map(one.select(np.zeros(65536, dtype=np.int64)))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[BoolArray, list[float]]:
    count = draw(st.integers(1, 5))
    shape = (count, draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    masks = draw(numpy_st.arrays(np.bool_, shape))
    return masks, draw(st.lists(st.sampled_from([0.5, 0.7, 0.9]), min_size=count, max_size=count))


@given(scene=scenes(), order=st.sampled_from(["area", "predicted_iou"]))
def test_every_pixel_goes_to_the_winner_of_the_masks_there(
    scene: tuple[BoolArray, list[float]], order: LabelOrder
) -> None:
    masks, scores = scene
    labels = label_map(encoded(masks, scores), order)
    areas = masks.sum(axis=(1, 2))
    for y, x in np.ndindex(labels.shape):
        there = np.flatnonzero(masks[:, y, x])
        winner = min(
            there,
            key=lambda row: (
                (areas[row], -scores[row], row)
                if order == "area"
                else (-scores[row], areas[row], row)
            ),
            default=-1,
        )
        assert labels[y, x] == winner + 1
