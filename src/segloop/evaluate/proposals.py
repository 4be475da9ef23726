"""Everything in an image as object proposals: how many true masks are found (paper §7.3, appendix D.3).

Average recall of at most 1000 automatic masks, blind to classes, at mask IoU .50 to .95 by .05, counted as COCO does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from segloop.data.image import ImageArray
from segloop.data.sample import Annotation, Frequency, Sample
from segloop.errors import InputError
from segloop.evaluate.metrics import Estimate, bootstrap_mean
from segloop.evaluate.run import Journal, ModelTask, score_images
from segloop.evaluate.truth import (
    Counts,
    Progress,
    SampleSource,
    choose_images,
    draw_for,
    usable_annotations,
)
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import IntArray
from segloop.geometry.rle import Rle
from segloop.predict.automatic import AutomaticConfig, generate
from segloop.predict.predictor import SINGLE_OUTPUT, THREE_OUTPUTS, Predictor

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
MAX_PROPOSALS = 1000
SMALL_PX, LARGE_PX = 32**2, 96**2

# Paper appendix D.3: three masks of a point, and the ablation that has the single-mask output alone.
PAPER_CONFIG = AutomaticConfig(
    points_per_side=64, predicted_iou_threshold=0, stability_threshold=0, box_nms_threshold=0.9
)
SINGLE_CONFIG = AutomaticConfig(
    points_per_side=128, predicted_iou_threshold=0, stability_threshold=0, box_nms_threshold=0.95
)

IouTable = npt.NDArray[np.float64]
Generate = Callable[[ImageArray], EncodedMasks]
Ranking = Literal["quality", "random"]


@dataclass(frozen=True)
class ModelProposals:
    """Generates with a model that each process loads when it is first asked, so that it can be sent to another one.

    outputs: of the decoder, (0,) for the single-mask output.
    """

    load: Callable[[], Predictor]
    config: AutomaticConfig = PAPER_CONFIG
    outputs: tuple[int, ...] = THREE_OUTPUTS

    def __call__(self, image: ImageArray) -> EncodedMasks:
        """All masks of an image."""
        return generate(self._predictor, image, self.config, outputs=self.outputs).masks

    def __reduce__(self) -> tuple[Any, ...]:
        return ModelProposals, (self.load, self.config, self.outputs)

    @cached_property
    def _predictor(self) -> Predictor:
        return self.load()


def single_output_proposals(load: Callable[[], Predictor]) -> ModelProposals:
    """The paper's ablation of ambiguity; its proposals are to be ranked at random (paper appendix D.3)."""
    return ModelProposals(load, SINGLE_CONFIG, (SINGLE_OUTPUT,))


@dataclass(frozen=True)
class TruthScores:
    """How well one true mask was found.

    area: pixels, as annotated. best_iou: over all proposals, whichever mask they were counted for. found: share of the IoU
    thresholds at which a proposal was left for it. found_in_size: the same among the true masks of its size alone;
    found_in_frequency: among those of categories as frequent, None where the dataset does not say.
    """

    image: str
    annotation_id: int
    category: str | None
    area: float
    size: str
    best_iou: float
    found: float
    found_in_size: float
    frequency: Frequency | None = None
    found_in_frequency: float | None = None


@dataclass(frozen=True)
class ImageProposals:
    """What was made of one image: masks generated, proposals scored, seconds taken by generating."""

    image: str
    num_generated: int
    num_proposals: int
    seconds: float


@dataclass(frozen=True)
class ImageRecall:
    """The scores of one image's true masks."""

    counts: Counts
    scores: tuple[TruthScores, ...]
    proposals: ImageProposals


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
    ranking: Ranking = "quality"


@dataclass(frozen=True)
class SizeRecall:
    """Average recall of the true masks of one size: small below 32^2 pixels, large from 96^2 on, medium between."""

    size: str
    num_masks: int
    average_recall: Estimate


@dataclass(frozen=True)
class FrequencyRecall:
    """Average recall of the true masks of categories that are as frequent, as LVIS counts training images."""

    frequency: Frequency
    num_masks: int
    average_recall: Estimate


@dataclass(frozen=True)
class ProposalsSummary:
    """The numbers of one dataset; seconds and proposals are of one image. frequencies: none where it knows of none."""

    average_recall: Estimate
    sizes: tuple[SizeRecall, ...]
    mean_best_iou: Estimate
    mean_proposals: float
    mean_seconds: float
    median_seconds: float
    frequencies: tuple[FrequencyRecall, ...] = ()


def evaluate_proposals(
    generate: Generate,
    dataset: SampleSource,
    *,
    name: str,
    model: str,
    limit: int | None = None,
    max_proposals: int = MAX_PROPOSALS,
    ranking: Ranking = "quality",
    seed: int = 0,
    jobs: int = 1,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> ProposalsResult:
    """Score the masks that `generate` makes of every image of a dataset.

    generate: for more than one job it must be one that can be sent to another process, as ModelProposals. limit: score so
    many images, drawn by `seed`. ranking: see rank_proposals. progress is called with the images done and the images in
    all. Raises InputError for settings that make no sense, for a sample that cannot be read, and as score_images does.
    """
    if max_proposals < 1:
        raise InputError(f"max_proposals must be at least 1, got {max_proposals}")
    if ranking not in get_args(Ranking):
        raise InputError(f"ranking is one of {', '.join(get_args(Ranking))}, got {ranking!r}")
    chosen = choose_images(len(dataset), limit, seed)
    score = partial(score_proposals, max_proposals=max_proposals, ranking=ranking, seed=seed)
    task = ModelTask(partial(_given, generate), dataset, score)
    images = score_images(task, chosen, ImageRecall, jobs=jobs, journal=journal, progress=progress)
    return ProposalsResult(
        name=name,
        model=model,
        counts=sum((image.counts for image in images), Counts()),
        scores=tuple(score for image in images for score in image.scores),
        images=tuple(image.proposals for image in images),
        max_proposals=max_proposals,
        limit=limit,
        seed=seed,
        ranking=ranking,
    )


def score_proposals(
    generate: Generate,
    sample: Sample,
    *,
    max_proposals: int = MAX_PROPOSALS,
    ranking: Ranking = "quality",
    seed: int = 0,
) -> ImageRecall:
    """Score the masks that `generate` makes of one image."""
    start = time.perf_counter()
    generated = generate(sample.image)
    seconds = time.perf_counter() - start
    draw = None if ranking == "quality" else draw_for(sample.name, seed)
    proposals = generated.select(rank_proposals(generated, max_proposals, draw))
    annotations, counts = usable_annotations(sample)
    return ImageRecall(
        counts,
        tuple(score_truths(sample.name, annotations, proposals)),
        ImageProposals(sample.name, len(generated), len(proposals), seconds),
    )


def rank_proposals(
    masks: EncodedMasks,
    max_proposals: int = MAX_PROPOSALS,
    draw: np.random.Generator | None = None,
) -> IntArray:
    """Rows of at most so many masks by falling mean of predicted IoU and stability, or as drawn.

    Masks without a pixel go first. Raises InputError for a quality that is no number.
    """
    rows = np.flatnonzero(masks.areas > 0)
    if draw is not None:
        return draw.permutation(rows)[:max_proposals]
    quality = masks.predicted_iou[rows] + masks.stability_score[rows]
    if not np.isfinite(quality).all():
        raise InputError(
            "a mask's predicted IoU or stability is no number: the model's weights are damaged"
        )
    return rows[np.argsort(-quality, kind="stable")][:max_proposals]


def score_truths(
    image: str, annotations: tuple[Annotation, ...], proposals: EncodedMasks
) -> list[TruthScores]:
    """Scores of the true masks of one image; proposals in the order of their rank."""
    if not annotations:
        return []
    ious = iou_table(proposals.rles, tuple(one.rle for one in annotations))
    sizes = np.array([size_of(one.area) for one in annotations])
    frequencies = np.array([one.frequency or "" for one in annotations])
    found = find_truths(ious).mean(axis=0)
    in_size, in_frequency = _found_among(ious, sizes), _found_among(ious, frequencies)
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
            frequency=one.frequency,
            found_in_frequency=None if one.frequency is None else float(in_frequency[column]),
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
    by_frequency = {
        frequency: [score for score in scores if score.frequency == frequency]
        for frequency in get_args(Frequency)
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
        frequencies=tuple(
            FrequencyRecall(frequency, len(inside), estimate("found_in_frequency", inside))
            for frequency, inside in by_frequency.items()
            if any(by_frequency.values())
        ),
    )


def _found_among(ious: IouTable, groups: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
    """Share of the thresholds at which each true mask is found among those of its group alone, (M,)."""
    found = np.zeros(len(groups))
    for group in set(groups.tolist()):
        found[groups == group] = find_truths(ious[:, groups == group]).mean(axis=0)
    return found


def _given(generate: Generate) -> Generate:
    return generate


def _records(rles: tuple[Rle, ...]) -> list[Any]:
    # The stubs know compressed runs as text only where the library wants bytes.
    return [{"size": list(rle.size_hw), "counts": rle.counts.encode()} for rle in rles]
