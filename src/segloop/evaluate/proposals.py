"""Everything in an image as object proposals: how many true masks are found (paper §7.3, appendix D.3).

Average recall of at most 1000 automatic masks, blind to classes, at mask IoU .50 to .95 by .05, counted as COCO does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from segloop.data.image import ImageArray
from segloop.data.sample import Annotation
from segloop.errors import InputError
from segloop.evaluate.metrics import Estimate, bootstrap_mean
from segloop.evaluate.truth import Counts, Progress, SampleSource, choose_images, usable_annotations
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import IntArray
from segloop.geometry.rle import Rle

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
MAX_PROPOSALS = 1000
SMALL_PX, LARGE_PX = 32**2, 96**2

IouTable = npt.NDArray[np.float64]
Generate = Callable[[ImageArray], EncodedMasks]


@dataclass(frozen=True)
class TruthScores:
    """How well one true mask was found.

    area: pixels, as annotated. best_iou: over all proposals, whichever mask they were counted for. found: share of the IoU
    thresholds at which a proposal was left for it. found_in_size: the same among the true masks of its size alone.
    """

    image: str
    annotation_id: int
    category: str | None
    area: float
    size: str
    best_iou: float
    found: float
    found_in_size: float


@dataclass(frozen=True)
class ImageProposals:
    """What was made of one image: masks generated, proposals scored, seconds taken by generating."""

    image: str
    num_generated: int
    num_proposals: int
    seconds: float


@dataclass(frozen=True)
class ProposalsResult:
    """The scores of every true mask of one dataset; evaluate.report makes a table and files of it."""

    name: str
    model: str
    counts: Counts
    scores: tuple[TruthScores, ...]
    images: tuple[ImageProposals, ...]
    max_proposals: int
    limit: int | None
    seed: int


@dataclass(frozen=True)
class SizeRecall:
    """Average recall of the true masks of one size: small below 32^2 pixels, large from 96^2 on, medium between."""

    size: str
    num_masks: int
    average_recall: Estimate


@dataclass(frozen=True)
class ProposalsSummary:
    """The numbers of one dataset; seconds and proposals are of one image."""

    average_recall: Estimate
    sizes: tuple[SizeRecall, ...]
    mean_best_iou: Estimate
    mean_proposals: float
    mean_seconds: float
    median_seconds: float


def evaluate_proposals(
    generate: Generate,
    dataset: SampleSource,
    *,
    name: str,
    model: str,
    limit: int | None = None,
    max_proposals: int = MAX_PROPOSALS,
    seed: int = 0,
    progress: Progress | None = None,
) -> ProposalsResult:
    """Score the masks that `generate` makes of every image of a dataset.

    limit: score so many images, drawn by `seed`. progress is called with the images done and the images in all. Raises
    InputError for a limit or a number of proposals that makes no sense, and for a sample that cannot be read.
    """
    if max_proposals < 1:
        raise InputError(f"max_proposals must be at least 1, got {max_proposals}")
    chosen = choose_images(len(dataset), limit, seed)
    counts, scores, images = Counts(), list[TruthScores](), list[ImageProposals]()
    for done, index in enumerate(chosen, start=1):
        sample = dataset.read(index)
        start = time.perf_counter()
        generated = generate(sample.image)
        seconds = time.perf_counter() - start
        proposals = generated.select(rank_proposals(generated, max_proposals))
        annotations, counted = usable_annotations(sample)
        counts += counted
        scores += score_truths(sample.name, annotations, proposals)
        images.append(ImageProposals(sample.name, len(generated), len(proposals), seconds))
        if progress is not None:
            progress(done, len(chosen))
    return ProposalsResult(
        name, model, counts, tuple(scores), tuple(images), max_proposals, limit, seed
    )


def rank_proposals(masks: EncodedMasks, max_proposals: int = MAX_PROPOSALS) -> IntArray:
    """Rows of at most so many masks by falling mean of predicted IoU and stability; masks without a pixel go first."""
    rows = np.flatnonzero(masks.areas > 0)
    quality = masks.predicted_iou[rows] + masks.stability_score[rows]
    return rows[np.argsort(-quality, kind="stable")][:max_proposals]


def score_truths(
    image: str, annotations: tuple[Annotation, ...], proposals: EncodedMasks
) -> list[TruthScores]:
    """Scores of the true masks of one image; proposals in the order of their rank."""
    if not annotations:
        return []
    ious = iou_table(proposals.rles, tuple(one.rle for one in annotations))
    sizes = np.array([size_of(one.area) for one in annotations])
    found = find_truths(ious).mean(axis=0)
    in_size = np.zeros(len(annotations))
    for size in set(sizes.tolist()):
        in_size[sizes == size] = find_truths(ious[:, sizes == size]).mean(axis=0)
    best = ious.max(axis=0, initial=0.0)
    return [
        TruthScores(
            image=image,
            annotation_id=one.id,
            category=one.category,
            area=one.area,
            size=str(sizes[column]),
            best_iou=float(best[column]),
            found=float(found[column]),
            found_in_size=float(in_size[column]),
        )
        for column, one in enumerate(annotations)
    ]


def find_truths(ious: IouTable, thresholds: tuple[float, ...] = IOU_THRESHOLDS) -> BoolArray:
    """Which of M true masks are found at each of T thresholds, (T, M), by N proposals in the order of their rank.

    ious: (N, M). One after another a proposal takes the true mask it fits best among those not yet taken, as in COCO.
    """
    found = np.zeros((len(thresholds), ious.shape[1]), dtype=np.bool_)
    for row, threshold in zip(found, thresholds, strict=True):
        # A proposal below the threshold everywhere takes nothing.
        for fit in ious[(ious >= threshold).any(axis=1)]:
            open_fit = np.where(row, -1.0, fit)
            # Of equal fits COCO takes the last.
            column = len(fit) - 1 - int(np.argmax(open_fit[::-1]))
            if open_fit[column] >= threshold:
                row[column] = True
            if row.all():
                break
    return found


def iou_table(proposals: tuple[Rle, ...], truths: tuple[Rle, ...]) -> IouTable:
    """IoU of N proposals with M true masks, (N, M)."""
    if not proposals or not truths:
        return np.zeros((len(proposals), len(truths)))
    table = coco_mask.iou(_records(proposals), _records(truths), [0] * len(truths))
    return np.asarray(table, dtype=np.float64)


def size_of(area: float) -> str:
    """COCO's name for an area in pixels: small, medium or large."""
    return "small" if area < SMALL_PX else "medium" if area < LARGE_PX else "large"


def summarise_proposals(result: ProposalsResult) -> ProposalsSummary:
    """Reduce the scores of all true masks to the numbers that are reported."""

    def estimate(column: str, scores: list[TruthScores]) -> Estimate:
        values = [getattr(score, column) for score in scores]
        return bootstrap_mean(values, [score.image for score in scores], result.seed)

    scores = list(result.scores)
    by_size = {
        size: [score for score in scores if score.size == size]
        for size in ("small", "medium", "large")
    }
    seconds = [image.seconds for image in result.images]
    return ProposalsSummary(
        average_recall=estimate("found", scores),
        sizes=tuple(
            SizeRecall(size, len(inside), estimate("found_in_size", inside))
            for size, inside in by_size.items()
        ),
        mean_best_iou=estimate("best_iou", scores),
        mean_proposals=float(np.mean([image.num_proposals for image in result.images])),
        mean_seconds=float(np.mean(seconds)),
        median_seconds=float(np.median(seconds)),
    )


def _records(rles: tuple[Rle, ...]) -> list[Any]:
    # The stubs know compressed runs as text only where the library wants bytes.
    return [{"size": list(rle.size_hw), "counts": rle.counts.encode()} for rle in rles]
