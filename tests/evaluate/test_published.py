from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from segloop.evaluate.points import PointsProtocol, PointsResult
from segloop.evaluate.published import (
    SAM,
    Comparison,
    SetScore,
    beside_published,
    compare_results,
    published_table,
)
from segloop.evaluate.truth import Counts


def test_scores_stand_beside_the_published_differences() -> None:
    comparison = beside_published(
        [
            SetScore("gtea", 0.25, 652, 1208),
            SetScore("PPDLS", 0.75, 182, 2347),
            SetScore("my own", 1.0, 1, 1),
        ]
    )
    rows = {row.name: row for row in comparison.rows}
    assert len(rows) == 23
    assert (rows["PPDLS"].one_click_iou, rows["PPDLS"].sam_minus_ritm) == (75.0, 46.9)
    assert (rows["GTEA"].one_click_iou, rows["GTEA"].sam_minus_ritm) == (25.0, -21.4)
    assert rows["LVIS"].one_click_iou is rows["LVIS"].num_masks is None
    assert (comparison.num_scored, comparison.mean, comparison.is_complete) == (2, 50.0, False)
    assert next(iter(rows)) == "PPDLS"


def test_the_published_numbers_are_the_papers() -> None:
    comparison = beside_published([])
    differences = [row.sam_minus_ritm for row in comparison.rows]
    # Figure 9a: SAM is ahead on 16 of 23 sets; the bars stand in falling order.
    assert sum(difference > 0 for difference in differences) == 16
    assert differences == sorted(differences, reverse=True)
    assert sum(row.published_masks for row in comparison.rows) == 172_653
    assert [(model.one_click, model.five_clicks) for model in SAM] == [(58.1, 81.3), (55.9, 80.9)]
    assert comparison.mean is None


def test_results_stand_beside_both_published_means(mask_scores) -> None:
    def result(name: str, *click_ious: float) -> PointsResult:
        scores = (mask_scores(click_ious=click_ious), mask_scores(click_ious=(0.4,)))
        return PointsResult(name, "m", PointsProtocol(), Counts(1, 2), scores, 1.0)

    comparison = compare_results([result("GTEA", 0.2, 0.6), result("IBD", 0.4), result("own", 1)])
    assert comparison is not None
    assert comparison.mean == pytest.approx(35)
    assert comparison.five_clicks_mean == pytest.approx(45)
    text = published_table(comparison)
    assert "Mean of 2 of 23 sets: 35.0 (1 click), 45.0 (5 clicks)." in text
    assert compare_results([result("own", 0.2)]) is None


def test_a_run_of_all_sets_is_complete() -> None:
    names = [row.name for row in beside_published([]).rows]
    comparison = beside_published([SetScore(name, 0.5, 1, 1) for name in names])
    assert comparison.is_complete
    assert comparison.mean == pytest.approx(50)
    adapter = TypeAdapter(Comparison)
    assert adapter.validate_json(adapter.dump_json(comparison)) == comparison


def test_the_table_says_what_was_not_scored_and_which_layouts_are_guesses() -> None:
    lines = published_table(beside_published([SetScore("IBD", 0.5, 467, 11953)])).splitlines()
    assert (
        "| IBD: InstanceBuilding 2D: roofs seen by drones (layout unconfirmed) | 467 | 11953 | 50.0 "
        "| 467 | 11953 | -0.3 |"
    ) in lines
    assert any(line.endswith("| - | - | - | 945 | 9642 | +18.5 |") for line in lines)
    assert "Mean of 1 of 23 sets: 50.0." in lines
    assert "Published for SAM ViT-H on all 23: 58.1 (1 click), 81.3 (5 clicks)." in lines
