"""Trees of masks by containment, and the choice of one mask of each nest."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray
from segloop.geometry.tree import build_tree, choose_from_nests, smoothness


def encoded(
    masks: BoolArray, scores: Sequence[float] | None = None, prompts: Sequence[int] | None = None
) -> EncodedMasks:
    count = len(masks)
    return EncodedMasks.encode(
        masks,
        predicted_iou=np.array([0.9] * count if scores is None else scores, dtype=np.float32),
        prompt_index=np.arange(count) if prompts is None else np.array(prompts, dtype=np.int64),
    )


def rectangles(
    *boxes: tuple[int, int, int, int], image_hw: tuple[int, int] = (40, 60)
) -> BoolArray:
    masks = np.zeros((len(boxes), *image_hw), dtype=np.bool_)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def disc(radius: int) -> BoolArray:
    side = np.arange(-radius - 3, radius + 4)
    return np.asarray(side[:, None] ** 2 + side**2 <= radius**2)


def test_sub_part_part_and_whole() -> None:
    # Two persons: bag > pocket on the first, hat on the second; rows out of order.
    pocket, whole, bag = (6, 12, 9, 15), (2, 2, 22, 38), (4, 10, 14, 20)
    other, hat = (30, 5, 50, 35), (35, 6, 45, 12)
    tree = build_tree(encoded(rectangles(pocket, whole, bag, other, hat)))
    assert tree.parent.tolist() == [2, -1, 1, -1, 3]
    assert tree.depth.tolist() == [2, 0, 1, 0, 1]
    assert tree.roots.tolist() == [1, 3]
    assert tree.children(1).tolist() == [2]
    assert tree.children(0).tolist() == []
    assert len(tree) == 5
    assert tree.parent.dtype == tree.depth.dtype == np.int64


def test_near_duplicates_are_siblings() -> None:
    whole, part, same_part = (0, 0, 40, 40), (5, 5, 25, 25), (5, 5, 25, 24)
    masks = encoded(rectangles(whole, part, same_part))
    assert build_tree(masks).parent.tolist() == [-1, 0, 0]
    assert build_tree(masks, min_area_ratio=1.01).parent.tolist() == [-1, 0, 1]


def test_containment_counts_pixels_and_not_boxes() -> None:
    ring = rectangles((0, 0, 30, 30))[0]
    ring[5:25, 5:25] = False
    tree = build_tree(encoded(np.stack([ring, rectangles((8, 8, 20, 20))[0]])))
    assert tree.parent.tolist() == [-1, -1]


def test_a_part_may_stick_out_by_as_much_as_containment_says() -> None:
    masks = encoded(rectangles((0, 0, 20, 20), (11, 0, 21, 10)))  # nine tenths inside
    assert build_tree(masks).parent.tolist() == [-1, 0]
    assert build_tree(masks, containment=0.91).parent.tolist() == [-1, -1]


def test_of_equal_wholes_the_earlier_row_is_the_parent() -> None:
    masks = encoded(rectangles((0, 0, 5, 5), (0, 0, 20, 20), (0, 0, 20, 20)))
    assert build_tree(masks).parent.tolist() == [1, -1, -1]


def test_empty_masks_are_roots_without_children() -> None:
    tree = build_tree(encoded(rectangles((0, 0, 0, 0), (0, 0, 20, 20))))
    assert tree.parent.tolist() == [-1, -1]
    assert len(build_tree(EncodedMasks.none((3, 4)))) == 0


@pytest.mark.parametrize(
    ("containment", "ratio", "named"),
    [(0, 2, "containment"), (1.1, 2, "containment"), (0.9, 1, "min_area_ratio")],
)
def test_settings_that_mean_nothing_are_refused(
    containment: float, ratio: float, named: str
) -> None:
    with pytest.raises(InputError, match=named):
        build_tree(EncodedMasks.none((3, 4)), containment, ratio)


@given(
    masks=numpy_st.arrays(
        np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5))
    ),
    containment=st.sampled_from([0.3, 0.5, 0.9, 1.0]),
    ratio=st.sampled_from([1.1, 1.25, 2.0]),
)
def test_every_parent_is_the_smallest_mask_that_contains_the_child(
    masks: BoolArray, containment: float, ratio: float
) -> None:
    tree = build_tree(encoded(masks), containment, ratio)
    areas = masks.sum(axis=(1, 2))
    for row, mask in enumerate(masks):
        around = [
            other
            for other in range(len(masks))
            if areas[row] > 0
            and areas[other] >= ratio * areas[row]
            and (mask & masks[other]).sum() / areas[row] >= containment
        ]
        assert tree.parent[row] == min(around, key=lambda other: (areas[other], other), default=-1)
        above = tree.parent[row]
        assert tree.depth[row] == (0 if above < 0 else tree.depth[above] + 1)
        if above >= 0:
            shared = (mask & masks[above]).sum()
            assert shared / (areas[row] + areas[above] - shared) <= 1 / ratio + 1e-9
    below = [row for parent in range(len(masks)) for row in tree.children(parent)]
    assert sorted([*below, *tree.roots]) == list(range(len(masks)))


def test_the_most_confident_of_each_nest_stays() -> None:
    masks = rectangles(*[(0, 0, 5 + side, 5) for side in range(6)])
    nests = encoded(masks, [0.7, 0.9, 0.8, 0.6, 0.9, 0.9], [4, 4, 1, 1, 9, 9])
    assert choose_from_nests(nests).tolist() == [1, 2, 4]
    assert choose_from_nests(nests, "most_confident").tolist() == [1, 2, 4]


def test_the_smoothest_of_a_nest_stays_though_others_are_surer() -> None:
    smooth = disc(12)
    holed = smooth.copy()
    holed[13:18, 13:18] = False
    scattered = smooth.copy()
    scattered[:3, :3] = True
    # A whole twice: the surer one wins the draw.
    masks = np.stack([holed, smooth, scattered, smooth])
    nest = encoded(masks, [0.95, 0.7, 0.9, 0.8], [0, 0, 0, 0])
    assert choose_from_nests(nest, "smoothest").tolist() == [3]
    assert choose_from_nests(nest.select([0, 1, 2]), "smoothest").tolist() == [1]


def test_a_choice_from_nothing_and_an_unknown_one() -> None:
    none = EncodedMasks.none((3, 4))
    assert choose_from_nests(none, "smoothest").tolist() == []
    with pytest.raises(InputError, match="smoothest"):
        choose_from_nests(none, "largest")  # type: ignore[arg-type]


@given(
    prompts=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    data=st.data(),
    by=st.sampled_from(["smoothest", "most_confident"]),
)
def test_each_nest_keeps_one_row_and_none_of_it_is_better(
    prompts: list[int], data: st.DataObject, by: str
) -> None:
    count = len(prompts)
    masks = data.draw(numpy_st.arrays(np.bool_, (count, 5, 6)))
    scores = data.draw(st.lists(st.sampled_from([0.5, 0.75]), min_size=count, max_size=count))
    chosen = choose_from_nests(encoded(masks, scores, prompts), by)  # type: ignore[arg-type]
    assert sorted(prompts[row] for row in chosen) == sorted(set(prompts))
    assert chosen.tolist() == sorted(chosen.tolist())
    merits = [smoothness(mask) for mask in masks] if by == "smoothest" else scores
    for row in chosen:
        nest = [one for one in range(count) if prompts[one] == prompts[row]]
        assert merits[row] == max(merits[one] for one in nest)


def test_smoothness_of_known_shapes() -> None:
    assert smoothness(disc(100)) == pytest.approx(0.9, abs=0.03)
    square = rectangles((5, 5, 205, 205), image_hw=(210, 210))[0]
    assert smoothness(square) == pytest.approx(np.pi / 4, rel=0.01)
    strip = rectangles((5, 5, 205, 15), image_hw=(210, 210))[0]
    assert smoothness(strip) == pytest.approx(4 * np.pi * 2000 / 420**2, rel=0.02)
    assert smoothness(np.zeros((4, 5), dtype=np.bool_)) == 0
    assert 0.5 < smoothness(np.ones((1, 1), dtype=np.bool_)) < 1.5


def test_raggedness_holes_and_pieces_lower_smoothness() -> None:
    plain = disc(40)
    ragged = plain.copy()
    edge = plain & ~cv2.erode(plain.astype(np.uint8), np.ones((3, 3), dtype=np.uint8)).astype(bool)
    ragged[edge & (np.indices(plain.shape).sum(axis=0) % 4 == 0)] = False
    holed = plain.copy()
    holed[30:40, 30:40] = False
    pieces = np.concatenate([plain, disc(40)], axis=1)
    for worse in (ragged, holed, pieces):
        assert smoothness(worse) < 0.95 * smoothness(plain)


def test_smoothness_does_not_depend_on_the_edge_of_the_image_or_the_order_in_memory() -> None:
    wide = disc(9)
    tight = np.ascontiguousarray(wide[3:-3, 3:-3])
    assert smoothness(tight) == smoothness(wide)
    assert smoothness(np.asfortranarray(wide)) == smoothness(wide[::-1]) == smoothness(wide)
