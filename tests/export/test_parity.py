"""The comparison of two backends finds what differs, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from segloop.backends.base import DRAW_ALL, Backend, BackendSpec
from segloop.backends.torch import TorchBackend
from segloop.export.parity import CASES, Case, compare_backends, draw_image, make_prompts
from segloop.geometry.frames import FloatArray
from segloop.model.sam import Sam
from segloop.prompts.prompt import PackedPrompts


@dataclass(frozen=True)
class Disturbed:
    """Another backend whose answers to some prompts are off by a little."""

    backend: Backend
    num_tokens: int
    has_masks: bool

    @property
    def spec(self) -> BackendSpec:
        return self.backend.spec

    def encode(self, image_chw: FloatArray) -> FloatArray:
        return self.backend.encode(image_chw)

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        logits, predicted_iou = self.backend.decode(features, prompts, floors)
        has_masks = prompts.mask_logits is not None
        if prompts.coords.shape[1] == self.num_tokens and has_masks == self.has_masks:
            return logits + 0.5 * logits.std(), predicted_iou + 0.25
        return logits, predicted_iou


@pytest.fixture(scope="module")
def backend(toy_model: Sam) -> TorchBackend:
    return TorchBackend(toy_model, "toy", "x")


def test_a_backend_agrees_with_itself(backend: TorchBackend) -> None:
    agreement = compare_backends(backend, backend)
    assert agreement.num_cases == len(CASES)
    assert agreement.logit_difference == agreement.feature_difference == 0.0
    assert agreement.predicted_iou_difference == 0.0
    assert agreement.mask_iou == 1.0


@pytest.mark.parametrize(
    ("num_tokens", "has_masks"),
    [(2, False), (3, False), (10, False), (41, False), (2, True), (0, True)],
)
def test_a_fault_in_any_kind_of_prompt_is_seen(
    num_tokens: int, has_masks: bool, backend: TorchBackend
) -> None:
    agreement = compare_backends(backend, Disturbed(backend, num_tokens, has_masks))
    assert agreement.logit_difference > 0.01
    assert agreement.predicted_iou_difference == pytest.approx(0.25, abs=1e-5)
    assert agreement.mask_iou < 0.999


def test_boxes_lie_the_right_way_round(backend: TorchBackend) -> None:
    prompts = make_prompts(Case(50, (0, 2, 3)), backend.spec, np.random.default_rng(0))
    assert (prompts.coords[:, 2] >= prompts.coords[:, 1]).all()


def test_the_picture_leaves_room_for_padding() -> None:
    image = draw_image(64, np.random.default_rng(0))
    assert image.shape == (48, 64, 3)
    assert image.std() > 10
