"""Edges from masks, without having learnt any: the paper's second zero-shot task (§7.2, appendix D.2).

A grid of points, three masks each, none filtered but by suppression; the gradient of every mask's probability on its outer
boundary; the largest of all; thinned.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, TypeVar

import cv2
import numpy as np

from segloop.backends.base import Embedding
from segloop.data.bsds import BoundarySample
from segloop.data.image import ImageArray
from segloop.errors import InputError
from segloop.evaluate.answers import check_answer
from segloop.evaluate.boundaries import (
    BoundaryCounts,
    BoundarySummary,
    edges_in_8_bits,
    score_boundaries,
    summarise_boundaries,
)
from segloop.evaluate.edge_maps import (
    canny_edges,
    gradient,
    scale_to_one,
    sobel_edges,
    thin_edges,
)
from segloop.evaluate.run import Journal, ModelTask, score_images
from segloop.evaluate.truth import Progress, choose_images
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.grids import point_grid
from segloop.geometry.masks import MaskBatch
from segloop.geometry.suppression import suppress_boxes
from segloop.prompts.prompt import Prompt

SCORING = 1
"""To be counted up with every change of what an image's scores are: a journal of another number is not gone on with."""
_POINTS_AT_ONCE = 16

Model = TypeVar("Model")


@dataclass(frozen=True)
class EdgeConfig:
    """How edges are found; the defaults are the paper's (16 x 16 points, box suppression at .7)."""

    points_per_side: int = 16
    box_nms_threshold: float = 0.7

    def __post_init__(self) -> None:
        if self.points_per_side < 1:
            raise InputError(f"points_per_side must be at least 1, got {self.points_per_side}")
        if not 0 <= self.box_nms_threshold <= 1:
            raise InputError(f"box_nms_threshold is from 0 to 1, got {self.box_nms_threshold}")


class EdgeSegmenter(Protocol):
    """What this task needs of a predictor."""

    def encode(self, image: ImageArray) -> Embedding:
        """Encode one image."""
        ...

    def segment(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, outputs: Literal["three"]
    ) -> MaskBatch:
        """Three masks for every prompt."""
        ...


class BoundarySource(Protocol):
    """A dataset of boundaries that can be read by index."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def read(self, index: int) -> BoundarySample:
        """Image and boundaries of one sample."""
        ...


@dataclass(frozen=True)
class ImageEdges:
    """The counts of one image, and the seconds that finding its edges took, without those of the benchmark."""

    counts: BoundaryCounts
    seconds: float


@dataclass(frozen=True)
class EdgesResult:
    """How one finder of edges did on one dataset. finder: the model's identity, or the name of an operator."""

    name: str
    finder: str
    images: tuple[ImageEdges, ...]
    limit: int | None
    seed: int

    @property
    def summary(self) -> BoundarySummary:
        """The numbers of the benchmark."""
        return summarise_boundaries([image.counts for image in self.images])


def evaluate_edges(
    load: Callable[[], EdgeSegmenter],
    dataset: BoundarySource,
    *,
    name: str,
    model: str,
    config: EdgeConfig = EdgeConfig(),
    limit: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> EdgesResult:
    """Score the edges of a model by the boundary benchmark (paper §7.2).

    load: gives the model of identity `model`, in each of `jobs` processes. Raises InputError for a limit that makes no
    sense, a sample that cannot be read, and as score_images does.
    """
    return _evaluate(
        ModelTask(load, dataset, partial(_score, find=partial(find_edges, config=config))),
        choose_images(len(dataset), limit, seed),
        partial(EdgesResult, name, model, limit=limit, seed=seed),
        jobs=jobs,
        journal=journal,
        progress=progress,
    )


def evaluate_operator(
    dataset: BoundarySource,
    *,
    name: str,
    operator: Literal["Sobel", "Canny"],
    limit: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> EdgesResult:
    """Score an operator that knows no objects, on the images that evaluate_edges takes for the same limit and seed."""
    return _evaluate(
        ModelTask(partial(_operator, operator), dataset, partial(_score, find=_apply)),
        choose_images(len(dataset), limit, seed),
        partial(EdgesResult, name, operator, limit=limit, seed=seed),
        jobs=jobs,
        journal=journal,
        progress=progress,
    )


def find_edges(
    predictor: EdgeSegmenter,
    image: ImageArray,
    config: EdgeConfig = EdgeConfig(),
) -> FloatArray:
    """The soft edge map (H, W), 0 to 1, of an image (H, W, 3); InputError where the model's answers are no numbers."""
    embedding = predictor.encode(image)
    boxes, scores, logits = _collect(predictor, embedding, config)
    edges = np.zeros(image.shape[:2], dtype=np.float32)
    for row in suppress_boxes(boxes, scores, config.box_nms_threshold):
        (full,) = embedding.frame.logits_to_image(logits[row][None])
        np.maximum(edges, boundary_gradient(full), out=edges)
    return thin_edges(scale_to_one(edges))


def boundary_gradient(logits: FloatArray) -> FloatArray:
    """Sobel's gradient of a mask's probability (H, W) on the pixels just outside the mask, 0 elsewhere."""
    probability = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    strength = gradient(np.asarray(probability, dtype=np.float32))
    return np.where(outer_boundary(logits > 0), strength, np.float32(0))


def outer_boundary(mask: BoolArray) -> BoolArray:
    """Pixels (H, W) that are not of the mask but touch it, by one of eight neighbours."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), dtype=np.uint8))
    return np.asarray(grown, dtype=np.bool_) & ~mask


OPERATORS: dict[str, Callable[[ImageArray], FloatArray]] = {
    "Sobel": sobel_edges,
    "Canny": canny_edges,
}


def _evaluate(
    task: ModelTask[Model, BoundarySample, ImageEdges],
    chosen: Sequence[int],
    make: Callable[[tuple[ImageEdges, ...]], EdgesResult],
    *,
    jobs: int,
    journal: Journal | None,
    progress: Progress | None,
) -> EdgesResult:
    images = score_images(task, chosen, ImageEdges, jobs=jobs, journal=journal, progress=progress)
    return make(tuple(images))


def _score(
    model: Model, sample: BoundarySample, *, find: Callable[[Model, ImageArray], FloatArray]
) -> ImageEdges:
    start = time.perf_counter()
    edges = find(model, sample.image)
    seconds = time.perf_counter() - start
    counts = score_boundaries(sample.name, edges_in_8_bits(edges), sample.boundaries)
    return ImageEdges(counts, seconds)


def _operator(name: str) -> Callable[[ImageArray], FloatArray]:
    return OPERATORS[name]


def _apply(operator: Callable[[ImageArray], FloatArray], image: ImageArray) -> FloatArray:
    return operator(image)


def _collect(
    predictor: EdgeSegmenter, embedding: Embedding, config: EdgeConfig
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Boxes, predicted IoU and low-resolution logits of all masks that are not empty."""
    found = list(_segment_grid(predictor, embedding, config.points_per_side))
    columns = tuple(
        np.concatenate([getattr(masks, name) for masks in found])
        for name in ("boxes_xyxy", "predicted_iou", "logits")
    )
    boxes, scores, logits = columns
    return boxes, scores, logits


def _segment_grid(
    predictor: EdgeSegmenter, embedding: Embedding, points_per_side: int
) -> Iterator[MaskBatch]:
    height, width = embedding.frame.image_hw
    points = point_grid(points_per_side) * np.array([width, height], dtype=np.float32)
    for start in range(0, len(points), _POINTS_AT_ONCE):
        some = [Prompt(points_xy=[xy]) for xy in points[start : start + _POINTS_AT_ONCE]]
        masks = predictor.segment(embedding, some, outputs="three")
        check_answer(masks)
        yield masks.select(masks.areas > 0)
