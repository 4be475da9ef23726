"""Boxes to instances: each box is answered by three masks, the most confident is fed back, the detector's score ranks.

The paper's instance segmentation (§7.4, appendix D.4), and a study of how it bears boxes that are off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segloop.backends.base import Embedding
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.evaluate.average_precision import (
    ImageOutcomes,
    PrecisionSummary,
    ScoredMask,
    bootstrap_precision,
    countable,
    match_masks,
    summarise_precision,
)
from segloop.evaluate.clicking import Segmenter, segment_single, segment_three
from segloop.evaluate.detections import Boxes, Detect, Detection, jitter_boxes
from segloop.evaluate.metrics import Estimate, bootstrap_mean
from segloop.evaluate.run import Journal, score_images
from segloop.evaluate.truth import (
    Counts,
    Progress,
    SampleSource,
    choose_images,
    draw_for,
    relative_size,
    usable_annotations,
)
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import mask_iou
from segloop.geometry.rle import encode_rle
from segloop.prompts.prompt import Prompt

SCORING = 1
"""To be counted up with every change of what an image's scores are: a journal of another number is not gone on with."""
_PIXELS_AT_ONCE = 16_000_000


@dataclass(frozen=True)
class InstancesProtocol:
    """How boxes are evaluated.

    noise: levels at which every side of a box is moved, as shares of its width or height; 0 leaves it. uses_categories: else
    all objects are of one class. limit: images at most. seed: of the images drawn and of the noise.
    """

    noise: tuple[float, ...] = (0.0,)
    uses_categories: bool = True
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.noise or not all(0 <= level <= 1 for level in self.noise):
            raise InputError(
                f"noise is one or more shares of a box's size, 0 to 1 each, got {self.noise}"
            )
        if len(set(self.noise)) < len(self.noise):
            raise InputError(f"noise has a level twice: {self.noise}")


@dataclass(frozen=True)
class BoxScores:
    """One true mask prompted by its own box, moved by the noise.

    relative_size: square root of the share of the image. first_iou: of the most confident of three masks. iou: of the mask
    after that one was fed back.
    """

    annotation_id: int
    category: str | None
    relative_size: float
    first_iou: float
    iou: float


@dataclass(frozen=True)
class LevelScores:
    """What came of the boxes at one level of noise. scores: none where the boxes are not the truth's."""

    noise: float
    outcomes: ImageOutcomes
    scores: tuple[BoxScores, ...]


@dataclass(frozen=True)
class ImageInstances:
    """The scores of one image, by the model of this identity. num_boxes: those that count."""

    image: str
    model: str
    counts: Counts
    num_boxes: int
    levels: tuple[LevelScores, ...]
    seconds: float


@dataclass(frozen=True)
class InstancesResult:
    """The scores of every image of one dataset; evaluate.report makes a table and files of it."""

    name: str
    model: str
    protocol: InstancesProtocol
    counts: Counts
    images: tuple[ImageInstances, ...]
    seconds: float


@dataclass(frozen=True)
class LevelSummary:
    """The numbers at one level of noise; the IoUs are means over true masks, NaN where the boxes are not the truth's."""

    noise: float
    ap: Estimate
    precision: PrecisionSummary
    first_iou: Estimate
    iou: Estimate


@dataclass(frozen=True)
class InstancesSummary:
    """The numbers of one dataset. num_boxes: of all its images."""

    levels: tuple[LevelSummary, ...]
    num_boxes: int


@dataclass(frozen=True)
class InstancesTask:
    """Scores the images of a dataset, see evaluate.run: a model, and boxes to prompt it with."""

    load: Callable[[], Segmenter]
    boxes: Boxes
    dataset: SampleSource
    protocol: InstancesProtocol = InstancesProtocol()

    def start(self) -> Callable[[int], ImageInstances]:
        """Open the boxes and load the model."""
        detect = self.boxes.start()
        segmenter = self.load()
        return lambda index: score_instances(
            segmenter, self.dataset.read(index), detect, protocol=self.protocol
        )


def evaluate_instances(
    load: Callable[[], Segmenter],
    dataset: SampleSource,
    boxes: Boxes,
    *,
    name: str,
    protocol: InstancesProtocol = InstancesProtocol(),
    jobs: int = 1,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> InstancesResult:
    """Score a model on the boxes of a dataset's images (paper §7.4).

    load: gives the model, in each of `jobs` processes. progress is called with the images done and the images in all.
    Raises InputError for a limit that makes no sense, boxes or a sample that cannot be read, and as score_images does.
    """
    chosen = choose_images(len(dataset), protocol.limit, protocol.seed)
    task = InstancesTask(load, boxes, dataset, protocol)
    images = score_images(
        task, chosen, ImageInstances, jobs=jobs, journal=journal, progress=progress
    )
    return InstancesResult(
        name,
        images[0].model if images else "",
        protocol,
        sum((image.counts for image in images), Counts()),
        tuple(images),
        sum(image.seconds for image in images),
    )


def score_instances(
    segmenter: Segmenter, sample: Sample, detect: Detect, *, protocol: InstancesProtocol
) -> ImageInstances:
    """Score a model on the boxes of one image.

    Raises InputError where the boxes have classes and the truth has none, and for answers that are no numbers.
    """
    start = time.perf_counter()
    sample, detections = _prepare(sample, detect(sample), protocol)
    usable, counts = usable_annotations(sample)
    crowds = tuple(one for one in sample.annotations if one.is_crowd and one.mask().any())
    truths = (*usable, *crowds)
    # The benchmarks limit what a detector may guess; of the truth every box counts.
    is_limited = any(one.truth is None for one in detections)
    boxes = countable(detections, truths, sample.labelling, is_limited=is_limited)
    embedding = segmenter.encode(sample.image)
    draws = draw_for(sample.name, protocol.seed).uniform(-1, 1, (len(boxes), 4)).astype(np.float32)
    levels = []
    for noise in protocol.noise:
        masks, scores = list[ScoredMask](), list[BoxScores]()
        for box, first, last in segment_boxes(segmenter, embedding, boxes, noise, draws):
            masks.append(ScoredMask(box.category, box.score, encode_rle(last)))
            if box.truth is not None:
                scores.append(_score(sample.annotations[box.truth], first, last))
        outcomes = match_masks(truths, masks, sample.labelling, is_limited=is_limited)
        levels.append(LevelScores(noise, outcomes, tuple(scores)))
    seconds = time.perf_counter() - start
    return ImageInstances(sample.name, embedding.model, counts, len(boxes), tuple(levels), seconds)


def summarise_instances(result: InstancesResult) -> InstancesSummary:
    """Reduce the scores of all images to the numbers that are reported."""
    levels = []
    for place, noise in enumerate(result.protocol.noise):
        inside = [image.levels[place] for image in result.images]
        names = [
            image.image
            for image, level in zip(result.images, inside, strict=True)
            for _ in level.scores
        ]
        scores = [score for level in inside for score in level.scores]
        outcomes = [level.outcomes for level in inside]
        levels.append(
            LevelSummary(
                noise,
                bootstrap_precision(outcomes, result.protocol.seed),
                summarise_precision(outcomes),
                bootstrap_mean([one.first_iou for one in scores], names, result.protocol.seed),
                bootstrap_mean([one.iou for one in scores], names, result.protocol.seed),
            )
        )
    return InstancesSummary(tuple(levels), sum(image.num_boxes for image in result.images))


def _prepare(
    sample: Sample, detections: Sequence[Detection], protocol: InstancesProtocol
) -> tuple[Sample, Sequence[Detection]]:
    """Image and boxes with the classes that count."""
    if not protocol.uses_categories:
        annotations = tuple(replace(one, category=None) for one in sample.annotations)
        sample = replace(sample, annotations=annotations, labelling=None)
        return sample, [replace(one, category=None) for one in detections]
    if any(one.category is None for one in sample.annotations) and any(
        one.category is not None and one.truth is None for one in detections
    ):
        raise InputError(
            f"{sample.name}: the boxes have classes, the annotations have none: score them as one class"
        )
    return sample, detections


def segment_boxes(
    segmenter: Segmenter,
    embedding: Embedding,
    detections: Sequence[Detection],
    noise: float,
    draws: FloatArray,
) -> Iterator[tuple[Detection, BoolArray, BoolArray]]:
    """Each box with its most confident mask (H, W) and the mask after that one was fed back."""
    image_hw = embedding.frame.image_hw
    given = np.array([one.box_xyxy for one in detections], dtype=np.float32).reshape(-1, 4)
    boxes = jitter_boxes(given, noise, draws, image_hw)
    size = max(1, _PIXELS_AT_ONCE // (image_hw[0] * image_hw[1]))
    for start in range(0, len(boxes), size):
        group = boxes[start : start + size]
        first = segment_three(segmenter, embedding, [Prompt(box_xyxy=box) for box in group]).best()
        again = [
            Prompt(box_xyxy=box, logits=logits)
            for box, logits in zip(group, first.logits, strict=True)
        ]
        last = segment_single(segmenter, embedding, again)
        yield from zip(detections[start : start + size], first.masks, last.masks, strict=True)


def _score(annotation: Annotation, first: BoolArray, last: BoolArray) -> BoxScores:
    truth = annotation.mask()
    return BoxScores(
        annotation.id,
        annotation.category,
        relative_size(truth),
        float(mask_iou(first, truth)),
        float(mask_iou(last, truth)),
    )
