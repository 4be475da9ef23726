"""The second look: where it is taken, and that it sees what the first could not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from segloop.backends.base import DRAW_ALL, Backend, BackendSpec, Embedding, drawn_outputs
from segloop.geometry.frames import BoolArray, FloatArray, Frame
from segloop.geometry.masks import MaskBatch, mask_iou
from segloop.predict.closer import (
    CloserConfig,
    look_closer,
    move_prompt,
    place_window,
    spread_out,
    windows_for,
)
from segloop.predict.predictor import Predictor
from segloop.prompts.prompt import PackedPrompts, Prompt

SIDE, GRID = 64, 16
HEIGHT, WIDTH = 300, 400


@dataclass
class Brightness(Backend):
    """Sees brightness in 16 cells a side, and calls bright what is more than half covered.

    Trusted are the three outputs of a lone click as `trust` says of the bright share of what it sees; seen: its images.
    """

    trust: float = 1.0
    seen: list[FloatArray] = field(default_factory=list)
    asked: list[PackedPrompts] = field(default_factory=list)

    @property
    def spec(self) -> BackendSpec:
        return BackendSpec("bright", "bright", SIDE, 4 * GRID, 1, GRID, looks_closer=True)

    def encode(self, image_chw: FloatArray) -> FloatArray:
        self.seen.append(image_chw)
        return cv2.resize(image_chw[0], (GRID, GRID), interpolation=cv2.INTER_AREA)[None]

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        self.asked.append(prompts)
        # Dark is -2.1 after normalising, bright 2.2.
        logits = cv2.resize(features[0], (4 * GRID, 4 * GRID), interpolation=cv2.INTER_LINEAR)
        share = float((features[0] > 0).mean())
        iou = np.full((len(prompts), 4), self.trust * share, dtype=np.float32)
        rows, _ = drawn_outputs(iou, floors)
        return np.repeat(logits[None], len(rows), axis=0), iou


def picture(x: int, y: int, side: int) -> tuple[FloatArray, BoolArray]:
    """Dark but for one bright square."""
    truth = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    truth[y : y + side, x : x + side] = True
    return np.where(truth[..., None], 250, 2).astype(np.uint8).repeat(3, axis=2), truth


@pytest.fixture
def backend() -> Brightness:
    return Brightness()


def corners(truth: BoolArray) -> list[int]:
    ys, xs = np.nonzero(truth)
    return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]


@pytest.mark.parametrize("prompt", ["box", "click"])
def test_what_is_too_small_for_the_first_look_is_found_in_the_second(
    backend: Brightness, prompt: str
) -> None:
    image, truth = picture(210, 130, 14)
    asked = Prompt(box_xyxy=corners(truth)) if prompt == "box" else Prompt(points_xy=[(216, 136)])
    near, far = Predictor(backend), Predictor(backend, closer=False)
    coarse = far.segment(far.encode(image), asked)
    fine = near.segment(near.encode(image), asked)
    assert float(mask_iou(coarse.masks[0], truth)) < 0.5
    assert float(mask_iou(fine.best().masks[0], truth)) > 0.8
    assert len(fine) == len(coarse)
    assert fine.prompt_index.tolist() == coarse.prompt_index.tolist()
    assert fine.output_index.tolist() == coarse.output_index.tolist()
    # The logits are in the frame of the whole image, so that they can be given back.
    frame = Frame((HEIGHT, WIDTH), SIDE, 4 * GRID)
    assert float(mask_iou(frame.logits_to_image(fine.best().logits)[0] > 0, truth)) > 0.4


def test_what_happens_to_the_array_later_changes_no_answer(backend: Brightness) -> None:
    image, truth = picture(210, 130, 14)
    predictor = Predictor(backend)
    embedding, box = predictor.encode(image), Prompt(box_xyxy=corners(truth))
    before = predictor.segment(embedding, box).masks
    image[:] = 0
    np.testing.assert_array_equal(predictor.segment(embedding, box).masks, before)


def test_an_embedding_from_a_file_looks_closer_where_its_image_is_there(
    backend: Brightness, tmp_path: Path
) -> None:
    image, truth = picture(210, 130, 14)
    predictor = Predictor(backend)
    embedding, box = predictor.encode(image), Prompt(box_xyxy=corners(truth))
    embedding.save(tmp_path / "photo.npz", pixels=True)
    again = predictor.segment(Embedding.load(tmp_path / "photo.npz"), box)
    np.testing.assert_array_equal(again.masks, predictor.segment(embedding, box).masks)


def test_a_click_takes_the_scale_that_is_trusted_most(backend: Brightness) -> None:
    image, _ = picture(100, 60, 60)
    backend.trust = -1.0  # the less bright, the better: the whole image
    predictor = Predictor(backend)
    embedding = predictor.encode(image)
    found = predictor.segment(embedding, Prompt(points_xy=[(130, 90)]))
    assert len(backend.seen) == 4
    plain = Predictor(backend, closer=False)
    np.testing.assert_array_equal(
        found.masks,
        plain.segment(replace(embedding, pixels=None), Prompt(points_xy=[(130, 90)])).masks,
    )


def test_a_window_that_is_filled_does_not_count(backend: Brightness) -> None:
    image, truth = picture(100, 60, 60)
    predictor = Predictor(backend)  # trusts most what is brightest: the windows are nothing else
    embedding = predictor.encode(image)
    prompt = Prompt(points_xy=[(130, 90)])
    plain = predictor.segment(replace(embedding, pixels=None), prompt, outputs="best")
    near = CloserConfig(click_shares=(0.25, 0.125))
    found = look_closer(predictor, embedding, [prompt], plain, "best", near)
    np.testing.assert_array_equal(found.masks, plain.masks)
    filled = look_closer(predictor, embedding, [prompt], plain, "best", replace(near, fills=1.0))
    assert filled.areas[0] < 0.8 * truth.sum()


def answers(*squares: tuple[int, float]) -> MaskBatch:
    """Masks of squares of these sides from one corner, trusted so much, as outputs of one look or several."""
    logits = np.full((len(squares), 32, 32), -1.0, dtype=np.float32)
    for row, (side, _) in zip(logits, squares, strict=True):
        row[:side, :side] = 1.0
    trust = np.array([one for _, one in squares], dtype=np.float32)
    numbers = np.arange(len(squares))
    return MaskBatch(logits > 0, trust, trust, np.zeros_like(numbers), 1 + numbers % 3, logits)


def test_three_masks_stand_for_all_that_a_click_may_mean() -> None:
    # By trust alone the answer would be one square three times.
    found = answers((20, 0.6), (10, 0.7), (10, 0.69), (11, 0.68), (30, 0.3), (0, 0.1))
    three = spread_out(found, 3)
    assert three.areas.tolist() == [100, 400, 900]
    assert three.output_index.tolist() == [1, 2, 3]
    assert three.best().areas[0] == 100
    # What is hardly trusted stands for little.
    assert spread_out(answers((10, 0.7), (20, 0.6), (15, 0.5), (30, 0.01)), 3).areas.max() == 400


def test_three_masks_come_from_several_looks(backend: Brightness) -> None:
    image, truth = picture(210, 130, 14)
    predictor = Predictor(backend)
    embedding, prompt = predictor.encode(image), Prompt(points_xy=[(216, 136)])
    three = predictor.segment(embedding, prompt, outputs="three")
    assert len({mask.tobytes() for mask in three.masks}) == 3
    best = predictor.segment(embedding, prompt, outputs="best")
    np.testing.assert_array_equal(best.masks, three.best().masks)
    assert float(mask_iou(best.masks[0], truth)) > 0.8


@pytest.mark.parametrize(
    ("outputs", "numbers"), [("auto", [0]), ("single", [0]), ("best", [0]), ("three", [1, 2, 3])]
)
def test_a_box_gets_as_many_masks_from_nearby_as_it_is_asked_for(
    outputs: Literal["auto", "single", "best", "three"], numbers: list[int], backend: Brightness
) -> None:
    image, truth = picture(210, 130, 14)
    predictor = Predictor(backend)
    box = Prompt(box_xyxy=corners(truth))
    found = predictor.segment(predictor.encode(image), box, outputs=outputs)
    assert found.output_index.tolist() == numbers
    assert float(mask_iou(found.masks, truth).min()) > 0.8


def test_a_click_on_something_large_gets_one_look(backend: Brightness) -> None:
    image, _ = picture(100, 60, 150)
    predictor = Predictor(backend)
    embedding, prompt = predictor.encode(image), Prompt(points_xy=[(170, 130)])
    predictor.segment(embedding, prompt)
    assert len(backend.seen) == 1
    plain = predictor.segment(replace(embedding, pixels=None), prompt)
    look_closer(predictor, embedding, [prompt], plain, "auto", CloserConfig(small=0.5))
    assert len(backend.seen) == 4


def test_large_objects_and_kept_embeddings_get_one_look(backend: Brightness) -> None:
    image, truth = picture(100, 60, 150)
    predictor = Predictor(backend)
    predictor.segment(predictor.encode(image), Prompt(box_xyxy=corners(truth)))
    assert len(backend.seen) == 1
    small, truth = picture(210, 130, 14)
    predictor.segment(predictor.encode(small, keep_pixels=False), Prompt(box_xyxy=corners(truth)))
    assert len(backend.seen) == 2


def test_many_prompts_keep_their_order(backend: Brightness) -> None:
    image, truth = picture(210, 130, 14)
    predictor = Predictor(backend)
    prompts = [
        Prompt(points_xy=[(5, 5)]),
        Prompt(box_xyxy=corners(truth)),
        Prompt(points_xy=[(216, 136)]),
    ]
    found = predictor.segment(predictor.encode(image), prompts)
    assert found.prompt_index.tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert len(predictor.segment(predictor.encode(image), [])) == 0


def embedding_of(image_hw: tuple[int, int]) -> Embedding:
    frame = Frame(image_hw, SIDE, 4 * GRID)
    pixels = np.zeros((*image_hw, 3), dtype=np.uint8)
    return Embedding(np.zeros((1, GRID, GRID), dtype=np.float32), frame, "bright", pixels)


def windows(prompt: Prompt, backend: Brightness) -> Sequence[tuple[int, int, int, int]]:
    embedding = embedding_of((HEIGHT, WIDTH))
    answer = Predictor(backend).segment(replace(embedding, pixels=None), prompt)
    return windows_for(prompt, answer, embedding, CloserConfig())


def test_windows_lie_about_what_the_prompt_shows(backend: Brightness) -> None:
    assert windows(Prompt(points_xy=[(200, 150)]), backend) == [
        (100, 50, 301, 251),
        (150, 100, 251, 201),
        (175, 125, 226, 176),
    ]
    assert windows(Prompt(points_xy=[(0, 300)]), backend) == [
        (0, 100, 200, 300),
        (0, 200, 100, 300),
        (0, 250, 50, 300),
    ]
    assert windows(Prompt(box_xyxy=(200, 100, 220, 110)), backend) == [(160, 55, 260, 155)]
    assert windows(Prompt(box_xyxy=(200, 100, 202, 102)), backend) == [(177, 77, 225, 125)]
    assert windows(Prompt(box_xyxy=(100, 100, 200, 200)), backend) == []
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[100:111, 200:221] = True
    clicked = Prompt(mask=mask, points_xy=[(205, 105)])
    assert windows(clicked, backend) == [(160, 55, 260, 155)]
    assert windows(Prompt(mask=mask), backend) == []


def test_windows_are_inside_and_hold_the_region() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = (int(value) for value in rng.integers(20, 500, 2))
        x0, y0 = rng.uniform(0, width - 2), rng.uniform(0, height - 2)
        region = np.array([x0, y0, rng.uniform(x0, width), rng.uniform(y0, height)], np.float32)
        side = max(region[2:] - region[:2]) * rng.uniform(1, 5) + 1
        left, top, right, bottom = place_window(region, side, (height, width))
        assert 0 <= left <= region[0]
        assert 0 <= top <= region[1]
        assert region[2] <= right + 1e-3 <= width + 1e-3
        assert region[3] <= bottom + 1e-3 <= height + 1e-3
        assert right - left <= side + 2


def test_a_prompt_moves_with_its_window() -> None:
    whole, window = Frame((HEIGHT, WIDTH), SIDE, 4 * GRID), (100, 50, 200, 150)
    part = Frame((100, 100), SIDE, 4 * GRID)
    prompt = Prompt(points_xy=[(120, 60), (10, 10)], labels=[1, 0], box_xyxy=(110, 55, 180, 140))
    moved = move_prompt(prompt, window, whole, part)
    points, labels = moved.points_and_labels
    assert points.tolist() == [[20, 10]]
    assert labels.tolist() == [1]
    assert moved.corners is not None
    assert moved.corners.tolist() == [10, 5, 80, 90]


def test_logits_move_with_their_window() -> None:
    whole, window = Frame((HEIGHT, WIDTH), SIDE, 4 * GRID), (100, 50, 200, 150)
    part = Frame((100, 100), SIDE, 4 * GRID)
    rng = np.random.default_rng(0)
    logits = cv2.GaussianBlur(rng.normal(size=(64, 64)).astype(np.float32), (0, 0), 3) * 20
    moved = move_prompt(Prompt(logits=logits), window, whole, part)
    there = whole.logits_to_image(logits)[50:150, 100:200]
    assert moved.logits is not None
    np.testing.assert_allclose(part.logits_to_image(moved.logits), there, atol=0.5)
