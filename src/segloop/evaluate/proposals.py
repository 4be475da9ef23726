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

from segloop.data.image import ImageArray
from segloop.data.sample import Frequency, Sample
from segloop.errors import InputError
from segloop.evaluate.answers import check_answer
from segloop.evaluate.metrics import Estimate, bootstrap_mean
from segloop.evaluate.recall import SIZE_RANGES, TruthScores, score_truths
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
from segloop.geometry.masks import IntArray
from segloop.predict.automatic import AutomaticConfig, generate
from segloop.predict.predictor import SINGLE_OUTPUT, THREE_OUTPUTS, Predictor

SCORING = 1
"""To be counted up with every change of what an image's scores are: a journal of another number is not gone on with."""
MAX_PROPOSALS = 1000

# Paper appendix D.3: three masks of a point, and the ablation that has the single-mask output alone.
PAPER_CONFIG = AutomaticConfig(
    points_per_side=64, predicted_iou_threshold=0, stability_threshold=0, box_nms_threshold=0.9
)
SINGLE_CONFIG = AutomaticConfig(
    points_per_side=128, predicted_iou_threshold=0, stability_threshold=0, box_nms_threshold=0.95
)

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
    """Average recall of the true masks of one size: up to 32^2 pixels, to 96^2, or from there on; see SIZE_RANGES."""

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

    Masks without a pixel go first. Raises InputError for a quality, of any mask, that is no number.
    """
    check_answer(masks)
    rows = np.flatnonzero(masks.areas > 0)
    if draw is not None:
        return draw.permutation(rows)[:max_proposals]
    quality = masks.predicted_iou[rows] + masks.stability_score[rows]
    return rows[np.argsort(-quality, kind="stable")][:max_proposals]


def summarise_proposals(result: ProposalsResult) -> ProposalsSummary:
    """Reduce the scores of all true masks to the numbers that are reported."""

    def mean(values: list[tuple[str, float]]) -> Estimate:
        return bootstrap_mean(
            [value for _, value in values], [image for image, _ in values], result.seed
        )

    def estimate(column: str, scores: list[TruthScores]) -> Estimate:
        return mean([(score.image, getattr(score, column)) for score in scores])

    scores = list(result.scores)
    by_size = {
        size: [
            (score.image, found) for score in scores if (found := score.found_in(size)) is not None
        ]
        for size in SIZE_RANGES
    }
    by_frequency = {
        frequency: [score for score in scores if score.frequency == frequency]
        for frequency in get_args(Frequency)
    }
    seconds = [image.seconds for image in result.images]
    return ProposalsSummary(
        average_recall=estimate("found", scores),
        sizes=tuple(
            SizeRecall(size, len(inside), mean(inside)) for size, inside in by_size.items()
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


def _given(generate: Generate) -> Generate:
    return generate
