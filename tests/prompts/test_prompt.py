"""Prompts become arrays by one rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segloop.errors import InputError
from segloop.geometry.frames import Frame
from segloop.prompts.prompt import MASK_MAGNITUDE, Prompt, mask_prompt_logits, pack

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "prompts.json").read_text())
FRAME = Frame((60, 90), 64, 16)


@pytest.mark.parametrize("case", VECTORS["prompts"], ids=lambda case: str(case["packed_labels"]))
def test_packing_agrees_with_the_shared_cases(case: dict) -> None:
    frame = Frame(tuple(case["image_hw"]), case["input_size"], case["input_size"] // 4)
    prompt = Prompt(case["points_xy"] or None, case["labels"] or None, case["box_xyxy"])
    (packed,) = pack([prompt], frame)
    assert packed.labels.tolist() == [case["packed_labels"]]
    np.testing.assert_allclose(packed.coords[0], case["packed_coords"], rtol=1e-6, atol=1e-6)
    assert packed.coords.dtype == np.float32
    assert packed.mask_logits is None
    assert packed.has_mask.tolist() == [0.0]


@pytest.mark.parametrize("case", VECTORS["masks_alone"], ids=lambda case: str(case["point_xy"]))
def test_a_mask_alone_is_described_as_in_the_shared_cases(case: dict) -> None:
    mask = np.array([[cell == "1" for cell in row] for row in case["rows"]])
    height, width = mask.shape
    side = max(height, width)
    (packed,) = pack([Prompt(mask=mask)], Frame((height, width), side, side))
    x0, y0, x1, y1 = case["box_xyxy"]
    assert packed.labels.tolist() == [[1, 2, 3]]
    assert packed.coords[0].tolist() == [case["point_xy"], [x0, y0], [x1, y1]]


def test_prompts_of_different_length_never_see_each_others_padding() -> None:
    prompts = [
        Prompt([(1, 2)]),
        Prompt(box_xyxy=(1, 2, 30, 40)),
        Prompt([(1, 2), (3, 4)], [1, 0]),
        Prompt([(5, 6)], [0]),
        Prompt([(5, 6)], box_xyxy=(1, 2, 30, 40)),
    ]
    groups = pack(prompts, FRAME)
    assert sorted(np.concatenate([group.index for group in groups]).tolist()) == [0, 1, 2, 3, 4]
    for group in groups:
        for row, index in enumerate(group.index):
            (alone,) = pack([prompts[index]], FRAME)
            assert group.labels[row].tolist() == alone.labels[0].tolist()
            np.testing.assert_array_equal(group.coords[row], alone.coords[0])


def test_many_equal_prompts_share_one_group() -> None:
    (group,) = pack([Prompt([(x, 3)]) for x in range(20)], FRAME)
    assert group.coords.shape == (20, 2, 2)
    part = group.slice(5, 8)
    assert part.index.tolist() == [5, 6, 7]
    np.testing.assert_array_equal(part.coords, group.coords[5:8])


def test_no_prompt_makes_no_group() -> None:
    assert pack([], FRAME) == []


def test_a_mask_alone_brings_its_box_and_its_innermost_point() -> None:
    mask = np.zeros((60, 90), dtype=bool)
    mask[10:31, 20:61] = True
    (packed,) = pack([Prompt(mask=mask)], FRAME)
    assert packed.labels.tolist() == [[1, 2, 3]]
    point, corners = FRAME.points_to_image(packed.coords[0, :1]), packed.coords[0, 1:]
    assert point[0, 1] == pytest.approx(20.0, abs=1e-3)
    assert 30 <= point[0, 0] <= 50
    box = FRAME.points_to_image(corners).reshape(-1)
    np.testing.assert_allclose(box, [20, 10, 60, 30], atol=1.01)
    assert packed.has_mask.tolist() == [1.0]
    assert packed.mask_logits is not None
    assert packed.mask_logits.shape == (1, 1, 16, 16)


def test_a_mask_with_a_point_brings_nothing_else() -> None:
    mask = np.ones((60, 90), dtype=bool)
    (packed,) = pack([Prompt([(3, 4)], mask=mask)], FRAME)
    assert packed.labels.tolist() == [[1, -1]]


def test_mask_logits_say_inside_and_outside_with_one_confidence() -> None:
    mask = np.zeros((60, 90), dtype=bool)
    mask[:, :45] = True
    logits = mask_prompt_logits(mask, FRAME)
    assert logits[2, 2] == pytest.approx(MASK_MAGNITUDE)
    assert logits[2, 13] == pytest.approx(-MASK_MAGNITUDE)
    assert logits[15, 2] == pytest.approx(-MASK_MAGNITUDE)  # below the content


def test_earlier_logits_pass_unchanged_and_bring_no_token() -> None:
    logits = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    (packed,) = pack([Prompt(logits=logits)], FRAME)
    assert packed.coords.shape == (1, 0, 2)
    assert packed.mask_logits is not None
    np.testing.assert_array_equal(packed.mask_logits[0, 0], logits)


def test_text_rides_along() -> None:
    (packed,) = pack([Prompt([(3, 4)], text=np.ones(5, dtype=np.float32))], FRAME)
    assert packed.text is not None
    assert packed.text.shape == (1, 5)


@pytest.mark.parametrize(
    ("prompt", "is_ambiguous"),
    [
        (Prompt([(1, 2)]), True),
        (Prompt([(1, 2)], [0]), True),
        (Prompt([(1, 2), (3, 4)]), False),
        (Prompt(box_xyxy=(1, 2, 3, 4)), False),
        (Prompt([(1, 2)], box_xyxy=(1, 2, 3, 4)), False),
        (Prompt([(1, 2)], mask=np.ones((60, 90))), False),
        (Prompt([(1, 2)], logits=np.ones((16, 16), dtype=np.float32)), False),
        (Prompt([(1, 2)], text=np.ones(3, dtype=np.float32)), False),
    ],
)
def test_only_a_lone_point_is_ambiguous(prompt: Prompt, is_ambiguous: bool) -> None:
    assert prompt.is_ambiguous is is_ambiguous


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "empty prompt"),
        ({"points_xy": []}, "empty prompt"),
        ({"points_xy": [(1, 2, 3)]}, "pairs"),
        ({"points_xy": [("a", "b")]}, "pairs"),
        ({"points_xy": [(1, float("nan"))]}, "finite"),
        ({"points_xy": [(1, 2)], "labels": [1, 0]}, "as many labels"),
        ({"points_xy": [(1, 2)], "labels": [2]}, "1 \\(foreground\\) or 0"),
        ({"box_xyxy": (1, 2, 3)}, "four numbers"),
        ({"box_xyxy": (5, 2, 5, 9)}, "is empty"),
        ({"box_xyxy": (1, 9, 5, 2)}, "is empty"),
        ({"box_xyxy": (1, 2, float("inf"), 9)}, "finite"),
        ({"points_xy": [(1e39, 10)]}, "of 1e\\+09 at most"),
        ({"points_xy": [(10**400, 10)]}, "pairs"),
        ({"box_xyxy": (0, 0, 1e38, 1e30)}, "of 1e\\+09 at most"),
        (
            {"text": np.array([1.0, np.nan], dtype=np.float32)},
            "text vector must be numbers, all finite",
        ),
        ({"text": ["a cat"]}, "text vector must be numbers"),
        ({"mask": np.ones((4, 4)), "logits": np.ones((4, 4))}, "not both"),
    ],
)
def test_a_prompt_that_says_nothing_or_nonsense_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Prompt(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt([(91, 3)]), "point 91,3 lies outside the image of 90 x 60"),
        (Prompt([(3, -1)]), "outside"),
        (Prompt([(3, 4), (3, 61)]), "outside"),
        (Prompt(box_xyxy=(95, 2, 99, 9)), "box 95,2,99,9 lies outside"),
        (Prompt(box_xyxy=(-9, 2, 0, 9)), "outside"),
        (Prompt(mask=np.ones((90, 60))), "mask is"),
        (Prompt(mask=np.zeros((60, 90))), "empty"),
        (Prompt(logits=np.zeros((8, 8), dtype=np.float32)), "logits are"),
    ],
)
def test_a_prompt_for_another_image_is_refused(prompt: Prompt, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pack([prompt], FRAME)
    assert "\n" not in str(caught.value)


def test_a_box_may_reach_beyond_the_image() -> None:
    (packed,) = pack([Prompt(box_xyxy=(-10, -10, 200, 200))], FRAME)
    assert packed.labels.tolist() == [[2, 3]]
