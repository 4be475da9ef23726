"""Crumbs of masks: the shared cases, and where the predictor sees to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segloop.backends.base import DRAW_ALL, Backend, BackendSpec, drawn_outputs
from segloop.geometry.frames import FloatArray, Frame
from segloop.geometry.rle import decode_rle
from segloop.predict.automatic import AutomaticConfig, generate
from segloop.predict.predictor import Predictor
from segloop.predict.tidy import content_cells, points_to_cells, tidy_answers
from segloop.prompts.prompt import PackedPrompts, Prompt

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "tidy.json").read_text())
NOWHERE = np.zeros((0, 2), dtype=np.int64)


def logits_of(rows: list[str]) -> FloatArray:
    """2.5 where there is a mask, -1.5 elsewhere."""
    return np.array([[2.5 if cell == "1" else -1.5 for cell in row] for row in rows], np.float32)


def prompt_of(case: dict[str, Any]) -> Prompt:
    clicks = case["clicks"]
    points = [click[:2] for click in clicks] or None
    labels = [click[2] for click in clicks] or None
    lone = case["is_ambiguous"]
    box = None if lone else (0, 0, case["image_hw"][1], case["image_hw"][0])
    return Prompt(points, labels, box)


@pytest.mark.parametrize("case", VECTORS["masks"])
def test_the_shared_masks(case: dict[str, Any]) -> None:
    frame = Frame(tuple(case["image_hw"]), case["input_size"], case["logit_size"])
    logits = logits_of(case["rows"])
    prompt = prompt_of(case)
    assert prompt.is_ambiguous == case["is_ambiguous"]
    found = tidy_answers(logits[None], [prompt], np.array([0]), frame)[0]
    assert ["".join(".1"[int(cell)] for cell in row) for row in found > 0] == case["tidied"]
    # Flipped, not replaced: what was sure of an island is as sure of its absence.
    np.testing.assert_array_equal(np.abs(found), np.abs(logits))


def test_the_shared_masks_do_what_they_are_there_for() -> None:
    changed = [case for case in VECTORS["masks"] if case["tidied"] != case["rows"]]
    assert len(changed) >= len(VECTORS["masks"]) // 2
    assert len(changed) < len(VECTORS["masks"])


def test_each_mask_goes_by_its_own_prompt() -> None:
    rows = ["1111111111", "1111111111", "..........", ".....111.."] + [".........."] * 6
    logits = np.stack([logits_of(rows)] * 4)
    frame = Frame((20, 20), 20, 10)
    lone, boxed = Prompt([(5, 1)]), Prompt(box_xyxy=(0, 0, 20, 8))
    found = tidy_answers(logits, [lone, boxed], np.array([0, 0, 1, 1]), frame)
    assert [int((one > 0).sum()) for one in found] == [20, 20, 23, 23]
    assert (logits > 0).sum() == 4 * 23, "what was given is as it was"


def test_where_there_are_no_crumbs_nothing_is_copied() -> None:
    logits = np.stack([logits_of(["1111", "1111", "....", "...."]), np.full((4, 4), -2.0)])
    frame = Frame((8, 8), 8, 4)
    assert tidy_answers(logits, [Prompt([(1, 1)])], np.array([0, 0]), frame) is logits
    none = np.zeros((0, 4, 4), dtype=np.float32)
    assert tidy_answers(none, [], NOWHERE[:, 0], frame) is none


def test_padding_is_no_part_of_it() -> None:
    frame = Frame((10, 40), 32, 16)
    assert content_cells(frame) == (4, 16)
    assert points_to_cells(np.array([(40.0, 10.0), (0, 0)], np.float32), frame).tolist() == [
        [15, 3],
        [0, 0],
    ]


@dataclass
class Speckled(Backend):
    """Answers every prompt with a large piece in the middle and a crumb in a corner."""

    tidies: bool

    @property
    def spec(self) -> BackendSpec:
        return BackendSpec("speckled", "speckled", 64, 16, 1, 4, tidies=self.tidies)

    def encode(self, image_chw: FloatArray) -> FloatArray:
        return np.zeros((1, 4, 4), dtype=np.float32)

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        logits = np.full((16, 16), -3.0, dtype=np.float32)
        logits[4:12, 4:12] = logits[0, 0] = 3.0
        iou = np.full((len(prompts), 4), 0.9, dtype=np.float32)
        rows, _ = drawn_outputs(iou, floors)
        return np.repeat(logits[None], len(rows), axis=0), iou


PIXELS = np.zeros((64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("of_model", "asked", "is_tidy"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
def test_a_model_is_tidied_where_it_asks_for_it_or_the_caller_does(
    of_model: bool, asked: bool | None, is_tidy: bool
) -> None:
    predictor = Predictor(Speckled(of_model), tidy=asked)
    found = predictor.segment(predictor.encode(PIXELS), Prompt([(32, 32)]), outputs="best")
    assert found.masks[0, 32, 32]
    assert found.masks[0, 0, 0] != is_tidy
    assert (found.logits[0, 0, 0] < 0) == is_tidy


@pytest.mark.parametrize("is_tidy", [True, False])
def test_so_are_automatic_masks(is_tidy: bool) -> None:
    config = AutomaticConfig(points_per_side=2, stability_threshold=0.0)
    masks = generate(Predictor(Speckled(is_tidy)), PIXELS, config).masks
    assert len(masks) >= 1
    assert decode_rle(masks.rles[0])[0, 0] != is_tidy
