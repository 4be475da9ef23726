from __future__ import annotations

import math

import pytest

from segloop.evaluate.points import PointsProtocol, PointsResult, Refinement
from segloop.evaluate.summary import headline, mean_of_datasets, summarise
from segloop.evaluate.truth import Counts


def result_of(*scores, protocol=None):
    return PointsResult("drawn", "m", protocol or PointsProtocol(), Counts(), tuple(scores), 1.0)


def test_ious_are_means_over_masks_and_a_short_history_keeps_its_last(mask_scores):
    summary = summarise(
        result_of(
            mask_scores(image="a", click_ious=(0.2, 0.6, 1.0), box_iou=0.4, single_iou=0.1),
            mask_scores(image="a", click_ious=(0.4,) * 20, box_iou=0.8, single_iou=0.3),
            mask_scores(image="b", click_ious=(0.6,) * 20, box_iou=0.9, single_iou=0.2),
        )
    )
    assert [one.clicks for one in summary.clicks] == [1, 2, 3, 5, 9]
    means = [one.iou.mean for one in summary.clicks]
    assert means == pytest.approx([0.4, 1.6 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert summary.box.mean == pytest.approx(0.7)
    assert summary.single.mean == pytest.approx(0.2)
    assert summary.box.low <= summary.box.mean <= summary.box.high


def test_noc_counts_a_failure_as_the_most_clicks(mask_scores):
    summary = summarise(
        result_of(
            mask_scores(click_ious=(0.2, 0.87, 0.91)),
            mask_scores(click_ious=(0.2, 0.87) + (0.5,) * 18),
            mask_scores(click_ious=(0.99,)),
            mask_scores(click_ious=(0.1, 0.2)),
        )
    )
    at_85, at_90 = summary.noc
    assert (at_85.target, at_85.mean, at_85.num_failed) == (0.85, (2 + 2 + 1 + 20) / 4, 1)
    assert (at_90.target, at_90.mean, at_90.num_failed) == (0.90, (3 + 20 + 1 + 20) / 4, 2)
    assert at_90.failed_share == 0.5


def test_the_most_clicks_are_the_protocols(mask_scores):
    protocol = PointsProtocol(clicks=(1, 3), max_clicks=4)
    summary = summarise(result_of(mask_scores(click_ious=(0.1,) * 4), protocol=protocol))
    assert [one.clicks for one in summary.clicks] == [1, 3]
    assert summary.noc[0].mean == 4


def test_spearman_pools_the_three_masks_of_every_click(mask_scores):
    # Within each mask the order is right; across the two it is reversed.
    summary = summarise(
        result_of(
            mask_scores(three_ious=(0.1, 0.2, 0.3), three_predicted_ious=(0.7, 0.8, 0.9)),
            mask_scores(three_ious=(0.7, 0.8, 0.9), three_predicted_ious=(0.1, 0.2, 0.3)),
        )
    )
    assert summary.spearman == pytest.approx(1 - 6 * (6 * 9) / (6 * 35))
    assert summary.oracle.mean == pytest.approx(0.6)


def test_sizes_fall_into_bins_the_whole_image_included(mask_scores):
    summary = summarise(
        result_of(
            mask_scores(relative_size=0.01, click_ious=(0.1,), box_iou=0.2),
            mask_scores(relative_size=0.05, click_ious=(0.3,)),
            mask_scores(relative_size=0.39, click_ious=(0.5,)),
            mask_scores(relative_size=0.4, click_ious=(0.7,)),
            mask_scores(relative_size=1.0, click_ious=(0.9,)),
        )
    )
    assert [(one.low, one.high, one.num_masks) for one in summary.sizes] == [
        (0.0, 0.05, 1),
        (0.05, 0.1, 1),
        (0.1, 0.2, 0),
        (0.2, 0.4, 1),
        (0.4, 1.0, 2),
    ]
    assert summary.sizes[0].one_click_iou == pytest.approx(0.1)
    assert summary.sizes[0].box_iou == pytest.approx(0.2)
    assert summary.sizes[-1].one_click_iou == pytest.approx(0.8)
    assert math.isnan(summary.sizes[2].box_iou)


def test_refinement_leaves_out_masks_that_wore_away(mask_scores):
    summary = summarise(
        result_of(
            mask_scores(worn=Refinement(0.4, 0.6), grown=Refinement(0.5, 0.5)),
            mask_scores(worn=None, grown=Refinement(0.7, 0.9)),
        )
    )
    assert (summary.worn.num_masks, summary.worn.iou_in, summary.worn.iou_out) == (1, 0.4, 0.6)
    assert summary.grown.iou_in == pytest.approx(0.6)
    assert summary.grown.iou_out == pytest.approx(0.7)


def test_the_mean_of_datasets_weighs_them_the_same(mask_scores):
    small = summarise(result_of(mask_scores(box_iou=1.0)))
    large = summarise(result_of(*[mask_scores(box_iou=0.2)] * 9))
    figures = {figure.title: figure.value for figure in mean_of_datasets([small, large])}
    assert figures["box"] == pytest.approx(0.6)
    assert list(figures) == [figure.title for figure in headline(small)]
    assert {"1 click", "9 clicks", "oracle", "NoC@85", "failed@90"} <= set(figures)
    assert mean_of_datasets([]) == ()


def test_no_masks_give_no_numbers_and_no_error():
    summary = summarise(result_of())
    assert math.isnan(summary.box.mean)
    assert math.isnan(summary.spearman)
    assert summary.noc[0].num_failed == 0
