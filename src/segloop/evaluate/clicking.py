"""Click after click on many objects of an image at once, as a patient annotator does (paper §7.1, appendix D.1; RITM).

The first click is answered by three masks; each later one goes into the larger error, with the logits of the answer before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from segloop.backends.base import Embedding
from segloop.data.image import ImageArray
from segloop.evaluate.answers import check_answer
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import MaskBatch, mask_iou
from segloop.prompts.prompt import Prompt
from segloop.prompts.simulate import Click, center_error_click


class Segmenter(Protocol):
    """What this task needs of a predictor."""

    def encode(self, image: ImageArray) -> Embedding:
        """Encode one image."""
        ...

    def segment(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        *,
        outputs: Literal["single", "three"],
    ) -> MaskBatch:
        """Masks in the order of prompts and outputs: output 0 (single) or outputs 1 to 3 (three)."""
        ...


@dataclass(frozen=True, eq=False)
class OneClick:
    """Answers to the first click of N objects; `best` has the mask of highest predicted IoU of each."""

    clicks: tuple[Click, ...]
    best: MaskBatch
    three_ious: FloatArray
    three_predicted_ious: FloatArray
    single_ious: FloatArray


def click_once(
    predictor: Segmenter, embedding: Embedding, truths: BoolArray, clicks: tuple[Click, ...]
) -> OneClick:
    """The answers to one click for each of N truths (N, H, W); InputError as segment_single."""
    prompts = [Prompt(points_xy=[click.xy], labels=[1]) for click in clicks]
    three = segment_three(predictor, embedding, prompts)
    single = segment_single(predictor, embedding, prompts)
    masks = three.masks.reshape(len(truths), 3, *truths.shape[1:])
    return OneClick(
        clicks,
        three.best(),
        mask_iou(masks, truths[:, None]),
        three.predicted_iou.reshape(-1, 3),
        mask_iou(single.masks, truths),
    )


class _Trial:
    """One object on its way through the clicks: what was clicked, and what the model last answered."""

    def __init__(self, truth: BoolArray, click: Click, mask: BoolArray, logits: FloatArray) -> None:
        self.truth = truth
        self.clicked = np.zeros_like(truth)
        self.clicks: list[Click] = []
        self.ious: list[float] = []
        self._note(click)
        self.take(mask, logits)

    def take(self, mask: BoolArray, logits: FloatArray) -> None:
        """Note the answer to the clicks so far."""
        self.mask, self.logits = mask, logits
        self.ious.append(float(mask_iou(mask, self.truth)))

    def is_open(self, least_clicks: int, target: float) -> bool:
        """Whether another click can be given and would change a number that is reported."""
        if len(self.ious) >= least_clicks and max(self.ious) >= np.float32(target):
            return False
        return bool(np.any((self.mask ^ self.truth) & ~self.clicked))

    def click(self) -> None:
        """Click into the larger error."""
        self._note(center_error_click(self.truth, self.mask, self.clicked))

    def prompt(self) -> Prompt:
        """All clicks so far and the logits of the last answer."""
        return Prompt(
            points_xy=[click.xy for click in self.clicks],
            labels=[int(click.is_foreground) for click in self.clicks],
            logits=self.logits,
        )

    def _note(self, click: Click) -> None:
        self.clicks.append(click)
        x, y = click.xy
        self.clicked[y, x] = True


def click_on(
    predictor: Segmenter,
    embedding: Embedding,
    truths: BoolArray,
    one_click: OneClick,
    *,
    least_clicks: int,
    max_clicks: int,
    target: float,
) -> list[tuple[float, ...]]:
    """IoU of each of N truths after 1, 2, ... clicks.

    A row ends early where no click is left to give, or after least_clicks once the target has been reached.
    """
    best = one_click.best
    trials = [
        _Trial(truth, click, mask, logits)
        for truth, click, mask, logits in zip(
            truths, one_click.clicks, best.masks, best.logits, strict=True
        )
    ]
    for _ in range(1, max_clicks):
        open_trials = [trial for trial in trials if trial.is_open(least_clicks, target)]
        if not open_trials:
            break
        for trial in open_trials:
            trial.click()
        answer = segment_single(predictor, embedding, [trial.prompt() for trial in open_trials])
        for trial, mask, logits in zip(open_trials, answer.masks, answer.logits, strict=True):
            trial.take(mask, logits)
    return [tuple(trial.ious) for trial in trials]


def segment_single(
    predictor: Segmenter, embedding: Embedding, prompts: Sequence[Prompt]
) -> MaskBatch:
    """Output 0 for every prompt; InputError where it is not made of numbers."""
    answer = predictor.segment(embedding, prompts, outputs="single")
    check_answer(answer)
    return answer


def segment_three(
    predictor: Segmenter, embedding: Embedding, prompts: Sequence[Prompt]
) -> MaskBatch:
    """Outputs 1 to 3 for every prompt; InputError where they are not made of numbers."""
    answer = predictor.segment(embedding, prompts, outputs="three")
    check_answer(answer)
    return answer
