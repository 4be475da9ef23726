"""From the answers to every category to the numbers that are reported, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segloop.evaluate.metrics import Estimate, bootstrap_mean
from segloop.evaluate.text import Answer, CategoryScores, TextResult


@dataclass(frozen=True)
class AnswerSummary:
    """Means over all categories of all images; found: share of the answers that fit an object of the category best."""

    union_iou: Estimate
    best_iou: Estimate
    found: Estimate


@dataclass(frozen=True)
class CategorySummary:
    """Mean IoU of one category's answers with all its objects together, by what was asked; NaN where nothing was."""

    category: str
    num_images: int
    text_iou: float
    text_point_iou: float
    other_text_iou: float


@dataclass(frozen=True)
class TextSummary:
    """The numbers of one dataset.

    gain and gain_with_point: IoU with all objects of the category that the right words bring over the wrong ones; an
    interval about 0 is a model that does not heed them. category_iou: of `text`, each category weighing the same.
    num_skipped: images with nothing to ask for.
    """

    text: AnswerSummary
    point: AnswerSummary
    text_point: AnswerSummary
    other_text: AnswerSummary
    other_text_point: AnswerSummary
    gain: Estimate
    gain_with_point: Estimate
    category_iou: float
    categories: tuple[CategorySummary, ...]
    num_asked: int
    num_skipped: int
    num_incomplete: int


def summarise_text(result: TextResult) -> TextSummary:
    """Reduce the scores of all images to the numbers that are reported."""
    scores, seed = result.scores, result.protocol.seed

    def gain(right: Sequence[Answer], wrong: Sequence[Answer | None]) -> Estimate:
        rows = [
            (one.union_iou - other.union_iou, score.image)
            for one, other, score in zip(right, wrong, scores, strict=True)
            if other is not None
        ]
        return bootstrap_mean([value for value, _ in rows], [image for _, image in rows], seed)

    def answers(found: Sequence[Answer | None]) -> AnswerSummary:
        return _summarise_answers(found, [score.image for score in scores], seed)

    text, text_point = [one.text for one in scores], [one.text_point for one in scores]
    other_text = [one.other_text for one in scores]
    other_text_point = [one.other_text_point for one in scores]
    categories = _summarise_categories(scores)
    return TextSummary(
        text=answers(text),
        point=answers([one.point for one in scores]),
        text_point=answers(text_point),
        other_text=answers(other_text),
        other_text_point=answers(other_text_point),
        gain=gain(text, other_text),
        gain_with_point=gain(text_point, other_text_point),
        category_iou=_mean([one.text_iou for one in categories]),
        categories=categories,
        num_asked=len(scores),
        num_skipped=sum(not image.scores for image in result.images),
        num_incomplete=sum(image.num_incomplete for image in result.images),
    )


def _summarise_answers(
    answers: Sequence[Answer | None], images: Sequence[str], seed: int
) -> AnswerSummary:
    rows = [(one, image) for one, image in zip(answers, images, strict=True) if one is not None]
    names = [image for _, image in rows]
    return AnswerSummary(
        bootstrap_mean([one.union_iou for one, _ in rows], names, seed),
        bootstrap_mean([one.best_iou for one, _ in rows], names, seed),
        bootstrap_mean([one.is_found for one, _ in rows], names, seed),
    )


def _summarise_categories(scores: Sequence[CategoryScores]) -> tuple[CategorySummary, ...]:
    found = []
    for category in sorted({score.category for score in scores}):
        mine = [score for score in scores if score.category == category]
        wrong = [score.other_text for score in mine if score.other_text is not None]
        found.append(
            CategorySummary(
                category,
                len(mine),
                _mean([score.text.union_iou for score in mine]),
                _mean([score.text_point.union_iou for score in mine]),
                _mean([answer.union_iou for answer in wrong]),
            )
        )
    return tuple(found)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
