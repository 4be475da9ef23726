"""Sharpened masks: borders that follow the image's edges where the model's logits are coarse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from segloop.backends.base import DRAW_ALL, Backend, BackendSpec, drawn_outputs
from segloop.geometry.frames import BoolArray, FloatArray, Frame
from segloop.geometry.masks import MaskBatch, mask_iou
from segloop.predict.predictor import Predictor
from segloop.predict.sharpen import SharpenConfig, guide_of, sharpen, sharpen_answers
from segloop.prompts.prompt import PackedPrompts, Prompt

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "sharpen.json").read_text())
RED, GREEN = (200, 40, 40), (40, 160, 60)


def disk(side: int = 256, radius: int = 70) -> BoolArray:
    y, x = np.ogrid[:side, :side]
    return np.asarray((x - side / 2) ** 2 + (y - side / 2) ** 2 < radius**2)


def painted(truth: BoolArray, noise: float = 8.0) -> np.ndarray:
    """A red thing on green, with some noise."""
    colors = np.where(truth[..., None], RED, GREEN) + np.random.default_rng(0).normal(
        0, noise, (*truth.shape, 3)
    )
    return np.clip(colors, 0, 255).astype(np.uint8)


def square_logits(side: int, low: int, high: int, value: float = 1.0) -> FloatArray:
    """Logits of a soft square: all that a coarse model may know of a disk."""
    logits = np.full((side, side), -value, dtype=np.float32)
    logits[low:high, low:high] = value
    return cv2.GaussianBlur(logits, (0, 0), 3)


def full_mask(
    sharpened: tuple[tuple[int, int, int, int], BoolArray] | None, hw: tuple[int, int]
) -> BoolArray:
    mask = np.zeros(hw, dtype=np.bool_)
    if sharpened is not None:
        (x0, y0, x1, y1), part = sharpened
        mask[y0:y1, x0:x1] = part
    return mask


@pytest.mark.parametrize("scale", [0.3, 1, 3])
def test_a_coarse_mask_takes_the_edge_of_the_thing(scale: float) -> None:
    side = round(256 * scale)
    truth, frame = disk(side, round(70 * scale)), Frame((side, side), 128, 64)
    logits = square_logits(64, 17, 47)
    coarse = frame.logits_to_image(logits) > 0
    sharp = full_mask(sharpen(logits, guide_of(painted(truth), frame)), truth.shape)
    assert float(mask_iou(coarse, truth)) < 0.88
    assert float(mask_iou(sharp, truth)) > 0.97


def test_without_an_edge_the_model_is_believed() -> None:
    frame = Frame((200, 300), 128, 64)
    logits = square_logits(64, 8, 40)
    plain = np.full((200, 300, 3), 90, dtype=np.uint8)
    coarse = frame.logits_to_image(logits) > 0
    sharp = full_mask(sharpen(logits, guide_of(plain, frame)), (200, 300))
    assert float(mask_iou(sharp, coarse)) > 0.9  # corners are rounded


def test_what_looks_alike_farther_away_is_left_out() -> None:
    truth = disk()
    twin = truth.copy()
    twin[:20, :20] = True
    frame = Frame(truth.shape, 128, 64)
    logits = square_logits(64, 17, 47, value=0.5)
    config = SharpenConfig()
    found = sharpen(logits, guide_of(painted(twin), frame), config)
    assert found is not None
    x0, y0, x1, y1 = found[0]
    # 17 and 47 less and more 2 * 4 logit pixels, four image pixels each.
    assert (x0, y0, x1, y1) == (36, 36, 220, 220)
    assert not full_mask(found, truth.shape)[:20, :20].any()


@pytest.mark.parametrize("side", [1, 2, 6, 10])
def test_a_small_mask_is_not_washed_away(side: int) -> None:
    frame, plain = Frame((256, 256), 128, 64), np.full((256, 256, 3), 120, dtype=np.uint8)
    logits = np.full((64, 64), -3.0, dtype=np.float32)
    logits[30 : 30 + side, 30 : 30 + side] = 3.0
    found = batch(logits, frame=frame)
    box = [Prompt(box_xyxy=(100, 100, 200, 200))]
    sharp = sharpen_answers(found, box, plain, frame, tidies=True)
    assert float(mask_iou(sharp.masks, found.masks)[0]) > 0.7


def test_an_empty_mask_stays_empty() -> None:
    guide = guide_of(painted(disk()), Frame((256, 256), 128, 64))
    assert sharpen(np.full((64, 64), -1.0, dtype=np.float32), guide) is None


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 900), (700, 2), (3, 5)])
def test_images_of_any_shape_can_be_sharpened(image_hw: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (*image_hw, 3), dtype=np.uint8)
    frame = Frame(image_hw, 128, 64)
    mask = full_mask(
        sharpen(np.full((64, 64), 3.0, dtype=np.float32), guide_of(pixels, frame)), image_hw
    )
    assert mask.mean() > 0.9


def test_the_fit_is_that_of_a_ridge_regression_in_every_square() -> None:
    """He et al. 2010, equations 19 and 21, computed window by window; no colours counted."""
    config = SharpenConfig(logit_weight=1.0, color_weight=0.0, radius_share=0.2, epsilon=0.01)
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    frame = Frame((16, 16), 16, 16)
    logits = rng.normal(0.5, 2, (16, 16)).astype(np.float32)
    wanted, colors = 1 / (1 + np.exp(-logits.astype(np.float64))), pixels / 255.0
    at = np.clip(np.arange(-2, 18), 0, 15)  # beyond the border the image goes on
    padded, goal = colors[at][:, at], wanted[at][:, at]
    fits = np.zeros((16, 16, 4))
    for y in range(16):
        for x in range(16):
            own, values = (
                padded[y : y + 5, x : x + 5].reshape(-1, 3),
                goal[y : y + 5, x : x + 5].ravel(),
            )
            spread = np.cov(own.T, bias=True) + 0.01 * np.eye(3)
            slopes = np.linalg.solve(spread, own.T @ values / 25 - own.mean(0) * values.mean())
            fits[y, x] = [*slopes, values.mean() - slopes @ own.mean(0)]
    around = fits[at][:, at]
    mean = np.array(
        [[around[y : y + 5, x : x + 5].mean(axis=(0, 1)) for x in range(16)] for y in range(16)]
    )
    expected = (mean[..., :3] * colors).sum(-1) + mean[..., 3] > 0.5
    found = sharpen(logits, guide_of(pixels, frame, config), config)
    assert found is not None
    assert found[0] == (0, 0, 16, 16)
    np.testing.assert_array_equal(found[1], expected)
    assert 0 < expected.mean() < 1


def test_grey_images_are_as_good_as_others() -> None:
    truth = disk()
    grey = np.where(truth[..., None], 180, 90).astype(np.uint8).repeat(3, axis=2)
    guide = guide_of(grey, Frame(truth.shape, 128, 64))
    assert (
        float(mask_iou(full_mask(sharpen(square_logits(64, 17, 47), guide), truth.shape), truth))
        > 0.97
    )


@pytest.mark.parametrize("case", VECTORS["masks"])
def test_the_shared_masks(case: dict[str, Any]) -> None:
    height, width = case["image_hw"]
    frame = Frame((height, width), case["input_size"], case["logit_size"])
    pixels = np.array(case["pixels"], dtype=np.uint8).reshape(height, width, 3)
    logits = np.array(case["logits"], dtype=np.float32).reshape(frame.logit_size, frame.logit_size)
    found = sharpen(logits, guide_of(pixels, frame))
    assert (found is None) == (not case["sharpened"])
    mask = full_mask(found, frame.image_hw)
    for row, expected in zip(mask, case["sharpened"], strict=False):
        assert (
            "".join(
                "?" if e == "?" else "1" if m else "." for m, e in zip(row, expected, strict=True)
            )
            == expected
        )


def batch(*logits: FloatArray, frame: Frame) -> MaskBatch:
    stacked = np.stack(logits)
    ones, rows = np.ones(len(logits), dtype=np.float32), np.arange(len(logits))
    return MaskBatch(frame.logits_to_image(stacked) > 0, ones, ones, rows, 0 * rows, stacked)


def test_crumbs_that_colour_has_left_are_taken_away_unless_clicked() -> None:
    truth = disk()
    spotted = truth.copy()
    spotted[40:50, 120:132] = True  # red beside the disk, within reach
    spotted[120:136, 120:136] = False  # green in its middle
    frame = Frame(truth.shape, 128, 64)
    logits = np.full((64, 64), -4.0, dtype=np.float32)
    logits[8:56, 8:56] = -0.8  # unsure
    logits[17:47, 17:47] = 0.6
    box = (58, 58, 199, 199)
    asked = [
        Prompt(box_xyxy=box),
        Prompt(box_xyxy=box, points_xy=[(126, 45), (128, 128)], labels=[1, 0]),
    ]
    found = batch(logits, logits, frame=frame)
    rough = sharpen_answers(found, asked, painted(spotted), frame, tidies=False).masks
    tidy, clicked = sharpen_answers(found, asked, painted(spotted), frame, tidies=True).masks
    assert rough[0, 45, 126]
    assert not rough[0, 128, 128]
    assert not tidy[45, 126]
    assert tidy[128, 128]
    assert clicked[45, 126]
    assert not clicked[128, 128]
    np.testing.assert_array_equal(found.masks, frame.logits_to_image(found.logits) > 0)


def test_no_masks_are_no_masks() -> None:
    frame = Frame((256, 256), 128, 64)
    none = batch(square_logits(64, 17, 47), frame=frame).select([])
    assert sharpen_answers(none, [], painted(disk()), frame, tidies=True) is none


@dataclass
class Coarse(Backend):
    """Answers every prompt with a soft square."""

    sharpens: bool

    @property
    def spec(self) -> BackendSpec:
        return BackendSpec("coarse", "coarse", 128, 64, 1, 16, sharpens=self.sharpens)

    def encode(self, image_chw: FloatArray) -> FloatArray:
        return np.zeros((1, 16, 16), dtype=np.float32)

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        iou = np.full((len(prompts), 4), 0.9, dtype=np.float32)
        rows, _ = drawn_outputs(iou, floors)
        return np.repeat(square_logits(64, 17, 47)[None], len(rows), axis=0), iou


@pytest.mark.parametrize(
    ("of_model", "asked", "is_sharp"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
@pytest.mark.parametrize("closer", [False, True])
def test_a_model_is_sharpened_where_it_asks_for_it_or_the_caller_does(
    of_model: bool, asked: bool | None, is_sharp: bool, closer: bool
) -> None:
    truth = disk()
    predictor = Predictor(Coarse(of_model), closer=closer, sharpen=asked)
    embedding = predictor.encode(painted(truth))
    assert (embedding.pixels is not None) == (is_sharp or closer)
    found = predictor.segment(embedding, Prompt(box_xyxy=(58, 58, 199, 199)))
    assert (float(mask_iou(found.masks[0], truth)) > 0.97) == is_sharp
    np.testing.assert_array_equal(found.logits[0], square_logits(64, 17, 47))


def test_an_embedding_without_its_image_is_not_sharpened() -> None:
    predictor = Predictor(Coarse(True))
    embedding = predictor.encode(painted(disk()), keep_pixels=False)
    found = predictor.segment(embedding, Prompt(box_xyxy=(58, 58, 199, 199)))
    np.testing.assert_array_equal(
        found.masks[0], embedding.frame.logits_to_image(found.logits[0]) > 0
    )
