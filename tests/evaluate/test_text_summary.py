from __future__ import annotations

import math

import pytest

from segloop.evaluate.text import Answer, CategoryScores, ImageText, TextProtocol, TextResult
from segloop.evaluate.text_summary import CategorySummary, summarise_text
from segloop.evaluate.truth import Counts

NOTHING = Answer(0.0, 0.0, False)


def scores(
    image: str,
    category: str,
    text: Answer,
    other_text: Answer | None = NOTHING,
    *,
    point: Answer = NOTHING,
    text_point: Answer = NOTHING,
) -> CategoryScores:
    other = None if other_text is None else "cow"
    return CategoryScores(
        image, category, other, 1, 0.2, text, point, text_point, other_text, other_text
    )


def result(*images: ImageText) -> TextResult:
    return TextResult("drawn", "m", "v", TextProtocol(), Counts(), images, 0.0)


def image(name: str, *found: CategoryScores, num_incomplete: int = 0) -> ImageText:
    return ImageText(name, "m", Counts(1), num_incomplete, found, 0.0)


def test_means_over_all_categories_of_all_images() -> None:
    summary = summarise_text(
        result(
            image(
                "a",
                scores("a", "cat", Answer(0.8, 0.9, True), Answer(0.2, 0.3, False)),
                scores("a", "dog", Answer(0.4, 0.5, False), Answer(0.4, 0.5, True)),
            ),
            image("b", scores("b", "dog", Answer(0.6, 0.7, True), Answer(0.0, 0.0, False))),
            image("c"),
            image("d", num_incomplete=2),
        )
    )
    assert summary.text.union_iou.mean == pytest.approx(0.6)
    assert summary.text.best_iou.mean == pytest.approx(0.7)
    assert summary.text.found.mean == pytest.approx(2 / 3)
    assert summary.other_text.union_iou.mean == pytest.approx(0.2)
    assert summary.other_text.found.mean == pytest.approx(1 / 3)
    # .6, 0 and .6; drawn by images, the mean lies between image a's .3 and image b's .6.
    assert summary.gain.mean == pytest.approx(0.4)
    assert summary.gain.low == pytest.approx(0.3)
    assert summary.gain.high == pytest.approx(0.6)
    # The point and the right words gave nothing: they lose what the wrong words had.
    assert summary.gain_with_point.mean == pytest.approx(-0.2)
    assert summary.point.union_iou.mean == summary.text_point.union_iou.mean == 0
    # Cat .8, dog the mean of .4 and .6.
    assert summary.category_iou == pytest.approx(0.65)
    cat, dog = summary.categories
    assert cat == CategorySummary("cat", 1, 0.8, 0.0, 0.2)
    assert (dog.category, dog.num_images) == ("dog", 2)
    assert dog.text_iou == pytest.approx(0.5)
    assert dog.other_text_iou == pytest.approx(0.2)
    assert (summary.num_asked, summary.num_skipped, summary.num_incomplete) == (3, 2, 2)


def test_a_perfect_model_scores_exactly_one() -> None:
    perfect = Answer(1.0, 1.0, True)
    found = [scores(name, "cat", perfect, point=perfect, text_point=perfect) for name in "abc"]
    summary = summarise_text(result(*(image(one.image, one) for one in found)))
    for one in (summary.text, summary.point, summary.text_point):
        for estimate in (one.union_iou, one.best_iou, one.found):
            assert (estimate.mean, estimate.low, estimate.high) == (1, 1, 1)
    assert summary.gain.mean == summary.gain_with_point.mean == summary.category_iou == 1


def test_without_wrong_words_there_is_no_gain() -> None:
    summary = summarise_text(result(image("a", scores("a", "cat", Answer(0.5, 0.5, True), None))))
    assert summary.text.union_iou.mean == 0.5
    assert math.isnan(summary.gain.mean)
    assert math.isnan(summary.other_text.found.mean)
    assert math.isnan(summary.categories[0].other_text_iou)


def test_nothing_asked_is_no_number() -> None:
    summary = summarise_text(result(image("a"), image("b")))
    assert math.isnan(summary.text.union_iou.mean)
    assert math.isnan(summary.category_iou)
    assert (summary.num_asked, summary.num_skipped, summary.categories) == (0, 2, ())
