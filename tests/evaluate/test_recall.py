"""Which true masks are found, by hand; tests/evaluate/test_proposals.py holds the whole to pycocotools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segloop.data.sample import Annotation
from segloop.evaluate.recall import IOU_THRESHOLDS, find_truths, iou_table, score_truths, sizes_of
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.rle import encode_rle

Rectangle = Callable[[tuple[int, int], slice, slice], np.ndarray]
IMAGE_HW = (120, 160)


def test_a_proposal_is_counted_for_one_mask_alone() -> None:
    # Both truths fit the one proposal; it goes to the better fit, and to no other.
    found = find_truths(np.array([[0.62, 0.71]]))
    assert found.sum(axis=0).tolist() == [0, 5]
    assert found[:, 1].tolist() == [threshold <= 0.71 for threshold in IOU_THRESHOLDS]


def test_the_better_ranked_proposal_chooses_first() -> None:
    # At .5 the first takes truth 0, the second is left with truth 1; at .65 the first still fits 0 and nothing fits 1.
    found = find_truths(np.array([[0.70, 0.60], [0.90, 0.55]]), (0.5, 0.65, 0.85))
    assert found.tolist() == [[True, True], [True, False], [True, False]]
    swapped = find_truths(np.array([[0.90, 0.55], [0.70, 0.60]]), (0.5, 0.65, 0.85))
    assert swapped.tolist() == [[True, True], [True, False], [True, False]]
    # A lower-ranked perfect fit comes too late for truth 0, and truth 1 goes without.
    assert find_truths(np.array([[0.6, 0.0], [0.9, 0.0]]), (0.5,)).tolist() == [[True, False]]


def test_an_iou_on_the_threshold_counts() -> None:
    assert find_truths(np.array([[0.5]]), (0.5, 0.55)).tolist() == [[True], [False]]


def test_no_proposals_find_nothing() -> None:
    assert not find_truths(np.zeros((0, 3))).any()
    assert iou_table((), ()).shape == (0, 0)


@pytest.mark.parametrize(
    ("area", "sizes"),
    [
        (0, ("small",)),
        (1023, ("small",)),
        (1024, ("small", "medium")),
        (1024.5, ("medium",)),
        (9215, ("medium",)),
        (9216, ("medium", "large")),
        (9217, ("large",)),
    ],
)
def test_sizes_are_those_of_coco(area: float, sizes: tuple[str, ...]) -> None:
    assert sizes_of(area) == sizes


def test_a_mask_on_the_border_of_two_sizes_is_scored_in_both(
    samples: Any, rectangle: Rectangle
) -> None:
    """One proposal is a small mask itself and, at .82, one on the border: among the medium ones that is found."""
    border = rectangle(IMAGE_HW, slice(0, 32), slice(0, 32))
    small = rectangle(IMAGE_HW, slice(0, 29), slice(0, 29))
    annotations = samples([[border, small]]).read(0).annotations
    first, second = score_truths("a", annotations, EncodedMasks.encode(small[None]))
    assert (first.size, first.larger_size) == ("small", "medium")
    assert [first.found_in(size) for size in ("small", "medium", "large")] == [
        0,
        pytest.approx(0.7),
        None,
    ]
    assert (second.size, second.larger_size, second.found_in_larger_size) == ("small", None, None)
    assert [second.found_in(size) for size in ("small", "medium", "large")] == [1, None, None]


def test_a_true_mask_has_its_share_of_the_image() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[:10, :10] = True
    truth = Annotation(encode_rle(mask), 100.0, (0.0, 0.0, 10.0, 10.0), 1)
    (score,) = score_truths("a", (truth,), EncodedMasks.encode(mask[None]))
    assert score.relative_size == 0.5
