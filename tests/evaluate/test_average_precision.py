"""Average precision by hand, against pycocotools' own, and by the rules of LVIS."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pydantic import TypeAdapter

from segloop.data.sample import Annotation, Frequency, Labelling
from segloop.errors import InputError
from segloop.evaluate.average_precision import (
    ImageOutcomes,
    ScoredMask,
    bootstrap_precision,
    match_masks,
    precision_curves,
    summarise_precision,
)
from segloop.geometry.rle import encode_rle

HW = (120, 160)


def square(x: int, side: int = 10, y: int = 0) -> np.ndarray:
    mask = np.zeros(HW, dtype=np.bool_)
    mask[y : y + side, x : x + side] = True
    return mask


def truth(
    mask: np.ndarray,
    category: str | None = "cat",
    number: int = 0,
    *,
    is_crowd: bool = False,
    frequency: Frequency | None = None,
) -> Annotation:
    return Annotation(
        encode_rle(mask), float(mask.sum()), (0, 0, 1, 1), number, category, is_crowd, frequency
    )


def guess(mask: np.ndarray, score: float = 1.0, category: str | None = "cat") -> ScoredMask:
    return ScoredMask(category, score, encode_rle(mask))


def letters(outcomes: ImageOutcomes, area: int = 0) -> list[str]:
    return [mask.outcomes[area] for mask in outcomes.masks]


ALL = "tttttttttt"
NONE = "ffffffffff"
IGNORED = "iiiiiiiiii"


def test_perfect_masks_score_exactly_one() -> None:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(7):
        truths = [
            truth(square(14 * column, 3 + column, y=20), f"class {rng.integers(3)}", column)
            for column in range(10)
        ]
        masks = [ScoredMask(one.category, float(rng.random()), one.rle) for one in truths]
        images.append(match_masks(truths, masks))
    summary = summarise_precision(images)
    assert (summary.ap, summary.ap50, summary.ap75, summary.small) == (1, 1, 1, 1)
    assert math.isnan(summary.large)
    assert [one.ap for one in summary.categories] == [1, 1, 1]
    assert (summary.num_truths, summary.num_masks) == (70, 70)


def test_no_masks_score_zero() -> None:
    summary = summarise_precision([match_masks([truth(square(0))], [])])
    assert (summary.ap, summary.ap50, summary.small, summary.num_masks) == (0, 0, 0, 0)


def test_masks_without_a_pixel_score_zero() -> None:
    empty = np.zeros(HW, dtype=np.bool_)
    outcomes = match_masks([truth(square(0))], [guess(empty)])
    assert letters(outcomes) == [NONE]
    assert summarise_precision([outcomes]).ap == 0


def test_nothing_to_find_is_no_score() -> None:
    assert math.isnan(summarise_precision([]).ap)
    assert summarise_precision([]).curves == ()
    alone = summarise_precision([match_masks([], [guess(square(0))])])
    assert math.isnan(alone.ap)
    assert (alone.categories, alone.num_masks) == ((), 0)


def test_precision_by_hand() -> None:
    """Two true masks; by rank a hit, a miss, a hit: precision 1 up to recall 1/2, and 2/3 up to recall 1."""
    truths = [truth(square(0)), truth(square(40), number=1)]
    masks = [guess(square(0), 0.9), guess(square(80), 0.8), guess(square(40), 0.7)]
    summary = summarise_precision([match_masks(truths, masks)])
    assert summary.ap == pytest.approx((51 * 1 + 50 * 2 / 3) / 101, abs=1e-12)
    assert summary.ap50 == summary.ap75 == pytest.approx(summary.ap, abs=1e-12)


def test_a_mask_counts_up_to_its_iou() -> None:
    # 80 of 100 pixels: IoU .8 is reached at seven of ten thresholds.
    part = square(0)
    part[8:] = False
    outcomes = match_masks([truth(square(0))], [guess(part)])
    assert letters(outcomes) == ["tttttttfff"]
    summary = summarise_precision([outcomes])
    assert (summary.ap, summary.ap50, summary.ap75) == (pytest.approx(0.7), 1, 1)


def test_the_second_mask_of_an_object_is_false() -> None:
    masks = [guess(square(0), 0.3), guess(square(0), 0.9)]
    outcomes = match_masks([truth(square(0))], masks)
    assert [mask.score for mask in outcomes.masks] == [0.9, 0.3]
    assert letters(outcomes) == [ALL, NONE]


def test_a_mask_of_another_class_finds_nothing() -> None:
    outcomes = match_masks([truth(square(0))], [guess(square(0), category="dog")])
    summary = summarise_precision([outcomes])
    assert (summary.ap, len(summary.categories)) == (0, 1)


def test_without_classes_all_are_objects() -> None:
    outcomes = match_masks([truth(square(0), None)], [guess(square(0), category=None)])
    assert summarise_precision([outcomes]).categories[0].category == "object"
    assert summarise_precision([outcomes]).ap == 1


def test_masks_in_a_crowd_are_ignored() -> None:
    crowd = truth(square(40, 60), number=1, is_crowd=True)
    masks = [guess(square(50 + 10 * step), 0.9) for step in range(3)] + [guess(square(0), 0.1)]
    outcomes = match_masks([truth(square(0)), crowd], masks)
    assert letters(outcomes) == [IGNORED] * 3 + [ALL]
    assert outcomes.truths[0].counts == (1, 1, 0, 0)
    assert summarise_precision([outcomes]).ap == 1


def test_areas_leave_out_what_is_of_another_size() -> None:
    small, large = square(0, 10), square(20, 100)
    truths = [truth(small), truth(large, number=1)]
    outcomes = match_masks(truths, [guess(large, 0.9), guess(square(130, 20), 0.8)])
    summary = summarise_precision([outcomes])
    assert outcomes.truths[0].counts == (2, 1, 0, 1)
    assert (summary.small, summary.large) == (0, 1)
    assert math.isnan(summary.medium)
    assert letters(outcomes, 3) == [ALL, IGNORED]
    assert letters(outcomes, 1) == [IGNORED, NONE]


def test_no_more_than_a_hundred_of_a_class_count() -> None:
    masks = [guess(square(40), 0.9)] * 100 + [guess(square(0), 0.1)]
    outcomes = match_masks([truth(square(0))], masks)
    assert len(outcomes.masks) == 100
    assert summarise_precision([outcomes]).ap == 0


def test_the_curve_is_the_best_precision_from_a_recall_on() -> None:
    ranked = np.array([list(one) for one in (NONE, ALL, IGNORED, ALL)]).T
    curves = precision_curves((ranked == "t") * 1, (ranked == "f") * 1, 4)
    assert curves.shape == (10, 101)
    # Precision 1/2 at recall 1/4, 2/3 at recall 2/4: the better counts for both, and beyond there is none.
    assert set(curves[0, :51].tolist()) == {2 / 3}
    assert set(curves[0, 51:].tolist()) == {0.0}


def test_the_interval_is_that_of_images_drawn_anew() -> None:
    rng = np.random.default_rng(1)
    outcomes = []
    for truths, masks in (random_image(rng) for _ in range(6)):
        unequal = [replace(mask, score=float(rng.random())) for mask in masks]
        outcomes.append(match_masks(truths, unequal))
    estimate = bootstrap_precision(outcomes, seed=0, num_draws=40)
    assert estimate.mean == pytest.approx(summarise_precision(outcomes).ap, abs=1e-12)
    # An image drawn twice is as two images of the same content.
    draws = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=40)
    values = [
        summarise_precision([outcomes[row] for row in np.repeat(np.arange(6), draw)]).ap
        for draw in draws
    ]
    low, high = np.quantile(values, (0.025, 0.975))
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-12)
    assert estimate.low < estimate.mean < estimate.high


def test_the_interval_of_nothing_is_none() -> None:
    assert math.isnan(bootstrap_precision([], seed=0).mean)
    perfect = match_masks([truth(square(0))], [guess(square(0))])
    estimate = bootstrap_precision([perfect] * 3, seed=0)
    assert (estimate.mean, estimate.low, estimate.high) == (1, 1, 1)


def test_agrees_with_pycocotools() -> None:
    """COCOeval with classes on crowded random rectangles of all sizes, with crowds and equal scores."""
    rng = np.random.default_rng(0)
    images = [random_image(rng) for _ in range(6)]
    summary = summarise_precision([match_masks(truths, masks) for truths, masks in images])
    expected = coco_precision(images)
    ours = (summary.ap, summary.ap50, summary.ap75, summary.small, summary.medium, summary.large)
    assert all(0.02 < value < 0.98 for value in expected)
    areas = {curve.iou: np.mean(curve.precision) for curve in summary.curves}
    assert areas == pytest.approx({0.5: summary.ap50, 0.75: summary.ap75, None: summary.ap})
    assert ours == pytest.approx(expected, abs=1e-12)


def random_image(rng: np.random.Generator) -> tuple[list[Annotation], list[ScoredMask]]:
    truths, masks = [], []
    for number in range(14):
        mask = random_rectangle(rng)
        category = f"{rng.integers(1, 4)}"
        truths.append(truth(mask, category, number, is_crowd=number == 13))
        for _ in range(3):
            moved = np.roll(mask, rng.integers(-3, 4, size=2), axis=(0, 1))
            masks.append(guess(moved, float(rng.integers(1, 20)) / 20, category))
    masks += [
        guess(random_rectangle(rng), float(rng.integers(1, 20)) / 20, f"{rng.integers(1, 4)}")
        for _ in range(20)
    ]
    return truths, masks


def random_rectangle(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros(HW, dtype=np.bool_)
    height, width = rng.integers(8, 118, size=2)
    y, x = rng.integers(0, HW[0] - height), rng.integers(0, HW[1] - width)
    mask[y : y + height, x : x + width] = True
    return mask


def coco_precision(images: list[tuple[list[Annotation], list[ScoredMask]]]) -> list[float]:
    annotations: list[dict[str, Any]] = [
        {
            "id": 100 * image + number + 1,
            "image_id": image,
            "category_id": int(one.category or 0),
            "segmentation": one.rle.to_json(),
            "area": one.area,
            "iscrowd": int(one.is_crowd),
        }
        for image, (truths, _) in enumerate(images)
        for number, one in enumerate(truths)
    ]
    results: list[dict[str, Any]] = [
        {
            "image_id": image,
            "category_id": int(one.category or 0),
            "segmentation": one.rle.to_json(),
            "score": one.score,
        }
        for image, (_, masks) in enumerate(images)
        for one in masks
    ]
    coco: Any = COCO()
    coco.dataset = {
        "images": [{"id": image, "height": HW[0], "width": HW[1]} for image in range(len(images))],
        "annotations": annotations,
        "categories": [{"id": number} for number in (1, 2, 3)],
        "info": {},
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation: Any = COCOeval(coco, coco.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats[:6]]


# --- LVIS -------------------------------------------------------------------------------------------------------------


def test_what_was_not_looked_for_does_not_count() -> None:
    labelling = Labelling(absent=frozenset({"dog"}), incomplete=frozenset())
    masks = [
        guess(square(0), 0.9),
        guess(square(40), 0.8, "dog"),  # looked for and not there: false
        guess(square(80), 0.7, "cow"),  # nobody knows
    ]
    outcomes = match_masks([truth(square(0))], masks, labelling)
    assert [(one.category, one.outcomes[0]) for one in outcomes.masks] == [
        ("cat", ALL),
        ("dog", NONE),
    ]
    elsewhere = match_masks([truth(square(0), "dog")], [guess(square(0), 0.5, "dog")], labelling)
    summary = summarise_precision([outcomes, elsewhere])
    # The false dog ranks before the true one: precision 1/2.
    assert {one.category: one.ap for one in summary.categories} == {"cat": 1, "dog": 0.5}


def test_of_what_is_annotated_in_part_nothing_is_false() -> None:
    masks = [guess(square(80), 0.9), guess(square(0), 0.8), guess(square(0), 0.7)]
    exhaustive = Labelling(frozenset(), frozenset())
    outcomes = match_masks([truth(square(0))], masks, exhaustive)
    assert letters(outcomes) == [NONE, ALL, NONE]
    assert summarise_precision([outcomes]).ap == pytest.approx(0.5)
    partial = Labelling(frozenset(), frozenset({"cat"}))
    outcomes = match_masks([truth(square(0))], masks, partial)
    assert letters(outcomes) == [IGNORED, ALL, IGNORED]
    assert summarise_precision([outcomes]).ap == 1


def test_three_hundred_masks_of_an_image_count_whatever_their_class() -> None:
    labelling = Labelling(absent=frozenset({"dog"}), incomplete=frozenset())
    crowding = [guess(square(40), 0.9, "dog")] * 150 + [guess(square(40), 0.8, "cow")] * 149
    for extra, found in (([], 1.0), ([guess(square(40), 0.9, "cow")], 0.0)):
        masks = [*crowding, *extra, guess(square(0), 0.1)]
        assert summarise_precision([match_masks([truth(square(0))], masks, labelling)]).ap == found


def test_frequencies_are_means_over_their_classes() -> None:
    labelling = Labelling(frozenset(), frozenset())
    truths = [
        truth(square(0), "cat", 0, frequency="rare"),
        truth(square(40), "dog", 1, frequency="rare"),
        truth(square(80), "cow", 2, frequency="frequent"),
    ]
    masks = [guess(square(0), 0.9, "cat"), guess(square(80), 0.9, "cow")]
    summary = summarise_precision([match_masks(truths, masks, labelling)])
    assert summary.ap == pytest.approx(2 / 3)
    frequencies = {one.frequency: (one.num_categories, one.ap) for one in summary.frequencies}
    assert frequencies["frequent"] == (1, 1)
    assert frequencies["rare"] == (2, 0.5)
    assert frequencies["common"][0] == 0
    assert math.isnan(frequencies["common"][1])


def test_a_set_without_frequencies_has_none() -> None:
    assert summarise_precision([match_masks([truth(square(0))], [])]).frequencies == ()


# --- what goes in and out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(score: float) -> None:
    with pytest.raises(InputError, match=f"cat is given with the score {score}"):
        match_masks([], [guess(square(0), score)])


def test_masks_of_different_sizes_are_refused() -> None:
    other = replace(guess(square(0)), rle=encode_rle(np.ones((20, 30), dtype=np.bool_)))
    with pytest.raises(InputError, match="differ in size"):
        match_masks([truth(square(0))], [other])


def test_outcomes_go_through_json() -> None:
    outcomes = match_masks(
        [truth(square(0), frequency="rare")], [guess(square(0)), guess(square(40), 0.1)]
    )
    adapter = TypeAdapter(ImageOutcomes)
    assert adapter.validate_json(adapter.dump_json(outcomes)) == outcomes
