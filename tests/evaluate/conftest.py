"""A dataset drawn by hand, and a predictor whose answers the test writes down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from segloop.backends.base import Embedding
from segloop.data.sample import Annotation, Sample
from segloop.evaluate.points import MaskScores
from segloop.geometry.frames import Frame
from segloop.geometry.masks import MaskBatch
from segloop.geometry.rle import encode_rle
from segloop.prompts.prompt import Prompt

LOGIT_SIZE = 4


@dataclass
class Samples:
    """A dataset in memory: masks of each image; `crowds` names annotation ids."""

    images: Sequence[Sequence[np.ndarray]]
    crowds: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> Sample:
        masks = self.images[index]
        pixels = np.full((*masks[0].shape, 3), (30, 90, 40), dtype=np.uint8)
        for mask in masks:
            pixels[mask] = (220, 60, 50)
        annotations = tuple(
            Annotation(
                encode_rle(mask),
                float(mask.sum()),
                (0.0, 0.0, 1.0, 1.0),
                number,
                None,
                number in self.crowds,
            )
            for number, mask in enumerate(masks)
        )
        return Sample(f"image{index}", pixels, annotations)


@dataclass
class ScriptedPredictor:
    """answer(prompt, output) gives mask and predicted IoU.

    The logits say which call and which output they are from, or are all `logit`, as those of a damaged model.
    """

    answer: Callable[[Prompt, int], tuple[np.ndarray, float]]
    calls: list[tuple[str, list[Prompt]]] = field(default_factory=list)
    logit: float | None = None

    def encode(self, image: np.ndarray) -> Embedding:
        frame = Frame(image.shape[:2], 16, LOGIT_SIZE)
        return Embedding(np.zeros((1, 1, 1), dtype=np.float32), frame, "scripted")

    def segment(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, outputs: str
    ) -> MaskBatch:
        self.calls.append((outputs, list(prompts)))
        which = {"single": (0,), "three": (1, 2, 3)}[outputs]
        rows = [(index, output) for index in range(len(prompts)) for output in which]
        answers = [self.answer(prompts[index], output) for index, output in rows]
        marks = [len(self.calls) * 10 + output for _, output in rows]
        if self.logit is not None:
            marks = [self.logit] * len(rows)
        return MaskBatch(
            masks=np.stack([mask for mask, _ in answers]),
            predicted_iou=np.array([quality for _, quality in answers], dtype=np.float32),
            stability_score=np.ones(len(rows), dtype=np.float32),
            prompt_index=np.array([index for index, _ in rows]),
            output_index=np.array([output for _, output in rows]),
            logits=np.stack(
                [np.full((LOGIT_SIZE, LOGIT_SIZE), mark, np.float32) for mark in marks]
            ),
        )

    def click_calls(self) -> list[tuple[str, list[Prompt]]]:
        """The calls of the first click and of those after it, without box and mask prompts."""
        return [
            call
            for call in self.calls
            if all(len(prompt._points) and prompt.mask is None for prompt in call[1])
        ]


# Predicted IoU and logit of a damaged model, and what is said of them.
DAMAGES = (
    (float("nan"), None, "a predicted IoU is no number"),
    (float("inf"), None, "a predicted IoU is no number"),
    (0.5, float("nan"), "a logit is no number"),
    (0.5, float("-inf"), "a logit is no number"),
)


@pytest.fixture(params=DAMAGES, ids=["nan iou", "inf iou", "nan logit", "inf logit"])
def damage(request: pytest.FixtureRequest) -> tuple[float, float | None, str]:
    found: tuple[float, float | None, str] = request.param
    return found


def draw_rectangle(hw: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(hw, dtype=bool)
    mask[rows, columns] = True
    return mask


def make_scores(**changes: Any) -> MaskScores:
    values: dict[str, Any] = {
        "image": "a",
        "annotation_id": 0,
        "category": None,
        "relative_size": 0.3,
        "click_ious": (0.5,),
        "three_ious": (0.5, 0.4, 0.3),
        "three_predicted_ious": (0.9, 0.8, 0.7),
        "single_iou": 0.5,
        "box_iou": 0.5,
        "worn": None,
        "grown": None,
    }
    return MaskScores(**{**values, **changes})


@pytest.fixture
def samples() -> type[Samples]:
    return Samples


@pytest.fixture
def scripted() -> type[ScriptedPredictor]:
    return ScriptedPredictor


@pytest.fixture
def rectangle() -> Callable[[tuple[int, int], slice, slice], np.ndarray]:
    return draw_rectangle


@pytest.fixture
def mask_scores() -> Callable[..., MaskScores]:
    return make_scores
