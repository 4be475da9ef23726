"""From points to masks, as a patient annotator clicks: the paper's first zero-shot task (§7.1, appendix D.1).

One click answered by three masks, of which the model says which is best; then click after click into the larger error,
each with the logits of the answer before. The clicks to a target IoU (NoC) follow RITM's protocol.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np

from segloop.backends.base import Embedding
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.evaluate.clicking import Segmenter, click_on, click_once, segment_single
from segloop.evaluate.run import Journal, ModelTask, score_images
from segloop.evaluate.truth import (
    Counts,
    Progress,
    SampleSource,
    choose_images,
    in_groups,
    relative_size,
    usable_annotations,
)
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import mask_iou
from segloop.prompts.prompt import Prompt
from segloop.prompts.simulate import Click, center_click, open_box, random_click, truth_box

SCORING = 2
"""To be counted up with every change of what an image's scores are: a journal of another number is not gone on with."""
NOC_TARGETS = (0.85, 0.90)
WEAR_PX = 5
_PIXELS_AT_ONCE = 16_000_000


@dataclass(frozen=True)
class PointsProtocol:
    """How points are evaluated: clicks to report, most clicks given, images at most, and the seed of all draws.

    first_click: at the centre of a mask, or random inside it (the paper's variant; later clicks are as always).
    """

    clicks: tuple[int, ...] = (1, 2, 3, 5, 9)
    max_clicks: int = 20
    limit: int | None = None
    seed: int = 0
    first_click: Literal["center", "random"] = "center"

    def __post_init__(self) -> None:
        if self.first_click not in {"center", "random"}:
            raise InputError(f"first_click is center or random, not {self.first_click!r}")
        object.__setattr__(self, "clicks", tuple(sorted(set(self.clicks))))
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
class ImagePoints:
    """The scores of one image's masks, by the model of this identity."""

    model: str
    counts: Counts
    scores: tuple[MaskScores, ...]
    seconds: float


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
    load: Callable[[], Segmenter],
    dataset: SampleSource,
    *,
    name: str,
    protocol: PointsProtocol = PointsProtocol(),
    jobs: int = 1,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> PointsResult:
    """Score a model on every mask of a dataset (paper §7.1).

    load: gives the model, in each of `jobs` processes. progress is called with the images done and the images in all.
    Raises InputError for a limit that makes no sense, a sample that cannot be read, and as score_images does.
    """
    chosen = choose_images(len(dataset), protocol.limit, protocol.seed)
    task = ModelTask(load, dataset, partial(score_points, protocol=protocol))
    images = score_images(task, chosen, ImagePoints, jobs=jobs, journal=journal, progress=progress)
    return PointsResult(
        name,
        images[0].model if images else "",
        protocol,
        sum((image.counts for image in images), Counts()),
        tuple(score for image in images for score in image.scores),
        sum(image.seconds for image in images),
    )


def score_points(predictor: Segmenter, sample: Sample, *, protocol: PointsProtocol) -> ImagePoints:
    """Score a model on every mask of one image."""
    start = time.perf_counter()
    embedding = predictor.encode(sample.image)
    annotations, counts = usable_annotations(sample)
    scores = []
    for group, truths in in_groups(annotations, sample.image.shape[:2], _PIXELS_AT_ONCE):
        clicks = tuple(
            first_click(sample.name, annotation, truth, protocol)
            for annotation, truth in zip(group, truths, strict=True)
        )
        one_click = click_once(predictor, embedding, truths, clicks)
        click_ious = click_on(
            predictor,
            embedding,
            truths,
            one_click,
            least_clicks=max(protocol.clicks),
            max_clicks=protocol.max_clicks,
            target=max(NOC_TARGETS),
        )
        boxes = [Prompt(box_xyxy=open_box(truth_box(truth))) for truth in truths]
        box_ious = mask_iou(segment_single(predictor, embedding, boxes).masks, truths)
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
    return ImagePoints(embedding.model, counts, tuple(scores), time.perf_counter() - start)


def first_click(
    image: str, annotation: Annotation, truth: BoolArray, protocol: PointsProtocol
) -> Click:
    """The click that an object (H, W) of an image of this name is given first; random ones hang on nothing else."""
    if protocol.first_click == "center":
        return Click(center_click(truth), True)
    # Of the mask alone, so that it is the same whatever else is scored.
    number = zlib.crc32(image.encode("utf-8", "surrogatepass"))
    seed = (protocol.seed, annotation.id, number)
    return random_click(truth, np.random.default_rng(seed))


def _refine(
    predictor: Segmenter, embedding: Embedding, truths: BoolArray, rough: Sequence[BoolArray]
) -> list[Refinement | None]:
    rows = [row for row, mask in enumerate(rough) if mask.any()]
    refinements: list[Refinement | None] = [None] * len(rough)
    if rows:
        answer = segment_single(predictor, embedding, [Prompt(mask=rough[row]) for row in rows])
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
