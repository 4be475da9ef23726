"""From points to masks, as a patient annotator clicks: the paper's first zero-shot task (§7.1, appendix D.1).

One click answered by three masks, of which the model says which is best; then click after click into the larger error,
each with the logits of the answer before. The clicks to a target IoU (NoC) follow RITM's protocol.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np

from segloop.backends.base import Embedding
from segloop.data.image import ImageArray
from segloop.data.sample import Sample
from segloop.errors import InputError
from segloop.evaluate.truth import (
    Counts,
    Progress,
    SampleSource,
    choose_images,
    in_groups,
    relative_size,
    usable_annotations,
)
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import MaskBatch, mask_iou
from segloop.prompts.prompt import Prompt
from segloop.prompts.simulate import Click, center_click, center_error_click, truth_box

NOC_TARGETS = (0.85, 0.90)
WEAR_PX = 5
_PIXELS_AT_ONCE = 16_000_000


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


@dataclass(frozen=True)
class PointsProtocol:
    """How points are evaluated: clicks to report, most clicks given, images at most, and the seed of both draws."""

    clicks: tuple[int, ...] = (1, 2, 3, 5, 9)
    max_clicks: int = 20
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.clicks or min(self.clicks) < 1:
            raise InputError(
                f"clicks to report must be one or more numbers from 1 on, got {self.clicks}"
            )
        if self.max_clicks < max(self.clicks):
            raise InputError(
                f"max_clicks is {self.max_clicks}, but the IoU after {max(self.clicks)} clicks is asked for"
            )


@dataclass(frozen=True)
class Refinement:
    """IoU of a worn or grown truth given as the only prompt, and of the mask that came back."""

    iou_in: float
    iou_out: float


@dataclass(frozen=True)
class MaskScores:
    """Everything measured on one mask; every IoU is taken at the size of the image.

    relative_size: square root of the share of the image. click_ious: after 1, 2, ... clicks; it ends early where no click
    was left to give, and then its last number stands for all later ones. three_ious and three_predicted_ious: the three
    masks of one click. single_iou: output 0 for that click. box_iou: output 0 for the truth's box. worn, grown: the truth
    eroded or dilated by WEAR_PX; None where that leaves nothing.
    """

    image: str
    annotation_id: int
    category: str | None
    relative_size: float
    click_ious: tuple[float, ...]
    three_ious: tuple[float, ...]
    three_predicted_ious: tuple[float, ...]
    single_iou: float
    box_iou: float
    worn: Refinement | None
    grown: Refinement | None

    def iou_after(self, num_clicks: int) -> float:
        """IoU after so many clicks."""
        return self.click_ious[min(num_clicks, len(self.click_ious)) - 1]

    @property
    def oracle_iou(self) -> float:
        """The best of the three masks of one click, chosen by the truth."""
        return max(self.three_ious)


@dataclass(frozen=True)
class PointsResult:
    """The scores of every mask of one dataset; evaluate.report makes numbers, a table and files of it."""

    name: str
    model: str
    protocol: PointsProtocol
    counts: Counts
    scores: tuple[MaskScores, ...]
    seconds: float


def evaluate_points(
    predictor: Segmenter,
    dataset: SampleSource,
    *,
    name: str,
    limit: int | None = None,
    clicks: Sequence[int] = (1, 2, 3, 5, 9),
    max_clicks: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
) -> PointsResult:
    """Score a model on every mask of a dataset (paper §7.1).

    limit: score so many images, drawn by `seed`. progress is called with the images done and the images in all.
    Raises InputError for clicks or a limit that make no sense, and for a sample that cannot be read.
    """
    start = time.perf_counter()
    protocol = PointsProtocol(tuple(sorted(set(clicks))), max_clicks, limit, seed)
    chosen = choose_images(len(dataset), limit, seed)
    model, counts, scores = "", Counts(), list[MaskScores]()
    for done, index in enumerate(chosen, start=1):
        sample = dataset.read(index)
        embedding = predictor.encode(sample.image)
        image_scores, image_counts = _score_image(predictor, embedding, sample, protocol)
        model = embedding.model
        counts += image_counts
        scores.extend(image_scores)
        if progress is not None:
            progress(done, len(chosen))
    return PointsResult(name, model, protocol, counts, tuple(scores), time.perf_counter() - start)


def _score_image(
    predictor: Segmenter, embedding: Embedding, sample: Sample, protocol: PointsProtocol
) -> tuple[list[MaskScores], Counts]:
    annotations, counts = usable_annotations(sample)
    scores = []
    for group, truths in in_groups(annotations, sample.image.shape[:2], _PIXELS_AT_ONCE):
        one_click = _one_click(predictor, embedding, truths)
        click_ious = _click_on(predictor, embedding, truths, one_click, protocol)
        boxes = [Prompt(box_xyxy=_open_box(truth_box(truth))) for truth in truths]
        box_ious = mask_iou(_single(predictor, embedding, boxes).masks, truths)
        worn = _refine(predictor, embedding, truths, [_worn(truth) for truth in truths])
        grown = _refine(predictor, embedding, truths, [_grown(truth) for truth in truths])
        scores += [
            MaskScores(
                image=sample.name,
                annotation_id=annotation.id,
                category=annotation.category,
                relative_size=relative_size(truths[row]),
                click_ious=click_ious[row],
                three_ious=tuple(one_click.three_ious[row].tolist()),
                three_predicted_ious=tuple(one_click.three_predicted_ious[row].tolist()),
                single_iou=float(one_click.single_ious[row]),
                box_iou=float(box_ious[row]),
                worn=worn[row],
                grown=grown[row],
            )
            for row, annotation in enumerate(group)
        ]
    return scores, counts


@dataclass(frozen=True, eq=False)
class _OneClick:
    """Answers to the first click of N objects; `best` has the mask of highest predicted IoU of each."""

    clicks: tuple[Click, ...]
    best: MaskBatch
    three_ious: FloatArray
    three_predicted_ious: FloatArray
    single_ious: FloatArray


def _one_click(predictor: Segmenter, embedding: Embedding, truths: BoolArray) -> _OneClick:
    clicks = tuple(Click(center_click(truth), True) for truth in truths)
    prompts = [Prompt(points_xy=[click.xy], labels=[1]) for click in clicks]
    three = predictor.segment(embedding, prompts, outputs="three")
    single = _single(predictor, embedding, prompts)
    masks = three.masks.reshape(len(truths), 3, *truths.shape[1:])
    return _OneClick(
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

    def is_open(self, protocol: PointsProtocol) -> bool:
        """Whether another click can be given and would change a number that is reported."""
        target = np.float32(max(NOC_TARGETS))
        if len(self.ious) >= max(protocol.clicks) and max(self.ious) >= target:
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


def _click_on(
    predictor: Segmenter,
    embedding: Embedding,
    truths: BoolArray,
    one_click: _OneClick,
    protocol: PointsProtocol,
) -> list[tuple[float, ...]]:
    best = one_click.best
    trials = [
        _Trial(truth, click, mask, logits)
        for truth, click, mask, logits in zip(
            truths, one_click.clicks, best.masks, best.logits, strict=True
        )
    ]
    for _ in range(1, protocol.max_clicks):
        open_trials = [trial for trial in trials if trial.is_open(protocol)]
        if not open_trials:
            break
        for trial in open_trials:
            trial.click()
        answer = _single(predictor, embedding, [trial.prompt() for trial in open_trials])
        for trial, mask, logits in zip(open_trials, answer.masks, answer.logits, strict=True):
            trial.take(mask, logits)
    return [tuple(trial.ious) for trial in trials]


def _refine(
    predictor: Segmenter, embedding: Embedding, truths: BoolArray, rough: Sequence[BoolArray]
) -> list[Refinement | None]:
    rows = [row for row, mask in enumerate(rough) if mask.any()]
    refinements: list[Refinement | None] = [None] * len(rough)
    if rows:
        answer = _single(predictor, embedding, [Prompt(mask=rough[row]) for row in rows])
        for row, mask in zip(rows, answer.masks, strict=True):
            iou_in, iou_out = mask_iou(rough[row], truths[row]), mask_iou(mask, truths[row])
            refinements[row] = Refinement(float(iou_in), float(iou_out))
    return refinements


def _worn(truth: BoolArray) -> BoolArray:
    return np.asarray(cv2.erode(truth.astype(np.uint8), _disk()), dtype=np.bool_)


def _grown(truth: BoolArray) -> BoolArray:
    return np.asarray(cv2.dilate(truth.astype(np.uint8), _disk()), dtype=np.bool_)


def _disk() -> cv2.typing.MatLike:
    side = 2 * WEAR_PX + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _open_box(box_xyxy: FloatArray) -> FloatArray:
    """The box of a truth one pixel wide or high has no extent between pixel centres: give it that one pixel."""
    box = box_xyxy.copy()
    box[2:] = np.maximum(box[2:], box[:2] + 1)
    return box


def _single(predictor: Segmenter, embedding: Embedding, prompts: Sequence[Prompt]) -> MaskBatch:
    return predictor.segment(embedding, prompts, outputs="single")
