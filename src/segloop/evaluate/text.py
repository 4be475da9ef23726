"""From words to masks: every category in an image is asked for by its text vector (paper §7.5, appendix D.5).

The paper shows pictures only; here the answer is compared with all objects of the category together and one by one. The
same is asked with a click, with a click alone, and with the words for something else: a model that does not heed the
words scores the same with any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from segloop.backends.base import BackendSpec, Embedding
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.evaluate.clicking import Segmenter, segment_single, segment_three
from segloop.evaluate.recall import iou_table
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
from segloop.evaluate.vocabulary import TEMPLATE, Vocabulary, check_takes_text
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import mask_iou
from segloop.geometry.rle import encode_rle
from segloop.prompts.prompt import Prompt
from segloop.prompts.simulate import center_click

SCORING = 1
"""To be counted up with every change of what an image's scores are: a journal of another number is not gone on with."""


class TextSegmenter(Segmenter, Protocol):
    """What this task needs of a predictor."""

    @property
    def spec(self) -> BackendSpec:
        """The model's name and sizes, and whether it takes text."""
        ...


@dataclass(frozen=True)
class TextProtocol:
    """How words are evaluated.

    template: what is asked, {} for the category. outputs: the single-mask output, or the most confident of the three.
    limit: images at most. seed: of the images drawn and of the wrong words.
    """

    template: str = TEMPLATE
    outputs: Literal["single", "best"] = "single"
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.outputs not in {"single", "best"}:
            raise InputError(f"outputs is single or best, not {self.outputs!r}")


@dataclass(frozen=True)
class Answer:
    """A mask beside the objects of a category.

    union_iou: with all of them together. best_iou: with the one it fits best. is_found: of all objects with a category, it
    fits one of this category best.
    """

    union_iou: float
    best_iou: float
    is_found: bool


@dataclass(frozen=True)
class CategoryScores:
    """What came of asking for one category in one image.

    other: the category whose words were given instead in other_text and other_text_point; None where there is no other.
    The point is the centre of the largest object. relative_size: of all objects together, the square root of their share
    of the image.
    """

    image: str
    category: str
    other: str | None
    num_objects: int
    relative_size: float
    text: Answer
    point: Answer
    text_point: Answer
    other_text: Answer | None
    other_text_point: Answer | None


@dataclass(frozen=True)
class ImageText:
    """The scores of one image, by the model of this identity; no scores where nothing in it has a category.

    num_incomplete: categories passed over, because not all of their objects are annotated (LVIS).
    """

    image: str
    model: str
    counts: Counts
    num_incomplete: int
    scores: tuple[CategoryScores, ...]
    seconds: float


@dataclass(frozen=True)
class TextResult:
    """The scores of every image of one dataset. vocabulary: identity of the categories and their vectors."""

    name: str
    model: str
    vocabulary: str
    protocol: TextProtocol
    counts: Counts
    images: tuple[ImageText, ...]
    seconds: float

    @property
    def scores(self) -> tuple[CategoryScores, ...]:
        """Of all images."""
        return tuple(score for image in self.images for score in image.scores)


@dataclass(frozen=True)
class TextTask:
    """Scores the images of a dataset, see evaluate.run: a model, and the categories to ask it for."""

    load: Callable[[], TextSegmenter]
    dataset: SampleSource
    vocabulary: Vocabulary
    protocol: TextProtocol = TextProtocol()

    def start(self) -> Callable[[int], ImageText]:
        """Load the model; raises InputError for one that does not take these vectors."""
        segmenter = self.load()
        check_takes_text(segmenter.spec, self.vocabulary.width)
        return lambda index: score_text(
            segmenter, self.dataset.read(index), self.vocabulary, protocol=self.protocol
        )


def evaluate_text(
    load: Callable[[], TextSegmenter],
    dataset: SampleSource,
    vocabulary: Vocabulary,
    *,
    name: str,
    protocol: TextProtocol = TextProtocol(),
    jobs: int = 1,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> TextResult:
    """Ask a model for the categories in a dataset's images.

    load: gives the model, in each of `jobs` processes. progress is called with the images done and the images in all.
    Raises InputError for a model that does not take these vectors, a limit that makes no sense, a sample that cannot be
    read, a category without a vector, and as score_images does.
    """
    chosen = choose_images(len(dataset), protocol.limit, protocol.seed)
    task = TextTask(load, dataset, vocabulary, protocol)
    images = score_images(task, chosen, ImageText, jobs=jobs, journal=journal, progress=progress)
    return TextResult(
        name,
        images[0].model if images else "",
        vocabulary.identity,
        protocol,
        sum((image.counts for image in images), Counts()),
        tuple(images),
        sum(image.seconds for image in images),
    )


def score_text(
    segmenter: TextSegmenter, sample: Sample, vocabulary: Vocabulary, *, protocol: TextProtocol
) -> ImageText:
    """Ask a model for the categories in one image.

    Pixels of a crowd of the category count neither way. Raises InputError for a category without a vector, and for
    answers that are no numbers.
    """
    start = time.perf_counter()
    usable, counts = usable_annotations(sample)
    named = tuple(one for one in usable if one.category is not None)
    present = {one.category for one in named if one.category is not None}
    incomplete = present & (sample.labelling.incomplete if sample.labelling else frozenset())
    scores: list[CategoryScores] = []
    if asked := sorted(present - incomplete):
        embedding = segmenter.encode(sample.image)
        rng = draw_for(sample.name, protocol.seed)
        for category in asked:
            question = _question(sample, named, category, vocabulary.draw_other(category, rng))
            prompts = question.prompts(vocabulary)
            masks = _segment(segmenter, embedding, prompts, protocol.outputs)
            scores.append(_score(sample, question, masks, named))
    seconds = time.perf_counter() - start
    return ImageText(
        sample.name, segmenter.spec.identity, counts, len(incomplete), tuple(scores), seconds
    )


@dataclass(frozen=True, eq=False)
class _Question:
    """A category that is asked for, with the union of its objects (H, W) and the pixels that count."""

    category: str
    other: str | None
    num_objects: int
    union: BoolArray
    counts: BoolArray
    point_xy: tuple[int, int]

    def prompts(self, vocabulary: Vocabulary) -> list[Prompt]:
        """In the order of the answers in CategoryScores."""
        point = [self.point_xy]
        right = vocabulary.vector(self.category)
        prompts = [
            Prompt(text=right),
            Prompt(points_xy=point),
            Prompt(points_xy=point, text=right),
        ]
        if self.other is not None:
            wrong = vocabulary.vector(self.other)
            prompts += [Prompt(text=wrong), Prompt(points_xy=point, text=wrong)]
        return prompts


def _question(
    sample: Sample, named: Sequence[Annotation], category: str, other: str | None
) -> _Question:
    masks = [one.mask() for one in named if one.category == category]
    union = np.logical_or.reduce(masks)
    counts = np.ones_like(union)
    for one in sample.annotations:
        if one.is_crowd and one.category == category:
            counts &= ~one.mask()
    largest = max(masks, key=np.count_nonzero)
    return _Question(category, other, len(masks), union, counts | union, center_click(largest))


def _segment(
    segmenter: Segmenter,
    embedding: Embedding,
    prompts: Sequence[Prompt],
    outputs: Literal["single", "best"],
) -> BoolArray:
    """One mask (H, W) a prompt."""
    if outputs == "single":
        return segment_single(segmenter, embedding, prompts).masks
    return segment_three(segmenter, embedding, prompts).best().masks


def _score(
    sample: Sample, question: _Question, masks: BoolArray, named: Sequence[Annotation]
) -> CategoryScores:
    own = [one for one in named if one.category == question.category]
    counted = masks & question.counts
    union_ious, best_ious = mask_iou(counted, question.union), _fits(counted, own)
    own_fit = _fits(masks, own)
    found = (own_fit > 0) & (own_fit >= _fits(masks, named))
    answers = [
        Answer(float(union_iou), float(best_iou), bool(is_found))
        for union_iou, best_iou, is_found in zip(union_ious, best_ious, found, strict=True)
    ]
    text, point, text_point, *others = answers
    other_text, other_text_point = others or (None, None)
    return CategoryScores(
        sample.name,
        question.category,
        question.other,
        question.num_objects,
        relative_size(question.union),
        text,
        point,
        text_point,
        other_text,
        other_text_point,
    )


def _fits(masks: BoolArray, annotations: Sequence[Annotation]) -> npt.NDArray[np.float64]:
    """IoU of each mask with the annotation that it fits best."""
    ious = iou_table(tuple(map(encode_rle, masks)), tuple(one.rle for one in annotations))
    return np.asarray(ious.max(axis=1), dtype=np.float64)
