"""The simulated conversation about N objects at once: what is asked first, and what next (paper appendix A).

Here are the rules; the draws themselves are segloop.prompts.simulate's. NumPy in and out, in the frames that names say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segloop.geometry.frames import BoolArray, FloatArray
from segloop.prompts.prompt import (
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    MASK_MAGNITUDE,
    PADDING,
    box_prompt_logits,
)
from segloop.prompts.simulate import (
    center_click,
    noisy_box,
    random_click,
    random_error_click,
    truth_box,
    worn_or_grown,
)
from segloop.train.config import InteractionConfig

POINT, BOX, MASK = 0, 1, 2
BOX_NOISE_LIMIT_PX = 20.0


@dataclass(eq=False)
class Conversation:
    """What has been asked so far about N objects, in the input frame; every object has the same number of tokens.

    kinds (N,): POINT, BOX or MASK, what came first. mask_logits (N, 1, L, L) and has_mask (N,): the mask prompts of
    the first round, None where there is none.
    """

    coords: FloatArray
    labels: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.int64]
    mask_logits: FloatArray | None
    has_mask: FloatArray

    def add_clicks(self, coords: FloatArray, labels: npt.NDArray[np.int64]) -> None:
        """One more click for each object; coords (N, 2), labels (N,). The first token brings the padding point along."""
        if not self.labels.shape[1]:
            self.coords = np.zeros((len(coords), 1, 2), dtype=np.float32)
            self.labels = np.full((len(labels), 1), PADDING, dtype=np.int64)
        self.coords = np.concatenate([self.coords, coords[:, None]], axis=1)
        self.labels = np.concatenate([self.labels, labels[:, None]], axis=1)


def schedule(config: InteractionConfig, rng: np.random.Generator) -> list[bool]:
    """For each round whether it brings a new prompt: the first does, the last does not, others as drawn."""
    asks = [True] * config.num_clicks
    for _ in range(max(0, config.num_mask_only - 1)):
        asks.insert(int(rng.integers(len(asks) + 1)), False)
    return [True, *asks, *([False] if config.num_mask_only else [])]


def first_prompts(
    truths: BoolArray,
    rngs: Sequence[np.random.Generator],
    config: InteractionConfig,
    scale: float,
    *,
    fills_boxes: bool = False,
) -> Conversation:
    """A point, a box or a rough mask for each object; scale is input pixels per logit pixel."""
    size = truths.shape[-1]
    coords = np.zeros((len(truths), 2, 2), dtype=np.float32)
    labels = np.full((len(truths), 2), PADDING, dtype=np.int64)
    kinds = np.full(len(truths), POINT, dtype=np.int64)
    masks = np.zeros((len(truths), 1, size, size), dtype=np.float32)
    has_mask = np.zeros(len(truths), dtype=np.float32)
    for row, (truth, rng) in enumerate(zip(truths, rngs, strict=True)):
        draw = rng.random()
        if draw < config.first_mask:
            kinds[row] = MASK
            mask = worn_or_grown(truth, rng)
            masks[row, 0] = np.where(mask, MASK_MAGNITUDE, -MASK_MAGNITUDE)
            has_mask[row] = 1.0
            with_box = rng.random() < 0.5
            box, point = truth_box(mask), center_click(mask)
        else:
            with_box = draw < config.first_mask + config.first_box
            kinds[row] = BOX if with_box else POINT
            box = noisy_box(truth, rng, limit_px=BOX_NOISE_LIMIT_PX / scale)
            point = random_click(truth, rng).xy
            if with_box and fills_boxes:
                masks[row, 0] = box_prompt_logits(box, size)
                has_mask[row] = 1.0
        if with_box:
            coords[row] = to_input(box.reshape(2, 2), scale)
            labels[row] = BOX_TOP_LEFT, BOX_BOTTOM_RIGHT
        else:
            coords[row, 0] = to_input(np.array(point), scale)
            labels[row, 0] = FOREGROUND
    return Conversation(coords, labels, kinds, masks if has_mask.any() else None, has_mask)


def error_clicks(
    truths: BoolArray, predictions: BoolArray, rngs: Sequence[np.random.Generator], scale: float
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """A random click on each object's error: coords (N, 2) in the input frame, labels (N,)."""
    clicks = [random_error_click(*one) for one in zip(truths, predictions, rngs, strict=True)]
    coords = to_input(np.array([click.xy for click in clicks]), scale)
    labels = [FOREGROUND if click.is_foreground else BACKGROUND for click in clicks]
    return coords, np.array(labels, dtype=np.int64)


def to_input(logit_xy: npt.NDArray[np.generic], scale: float) -> FloatArray:
    """Pixels of the logit frame as pixels of the input frame; centres go to centres."""
    return ((logit_xy.astype(np.float32) + 0.5) * scale - 0.5).astype(np.float32)
