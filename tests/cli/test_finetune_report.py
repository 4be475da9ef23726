from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from segloop.cli.finetune_report import (
    PROTOCOL,
    TuningReport,
    changes_between,
    changes_table,
    write_tuning_report,
)
from segloop.errors import InputError
from segloop.evaluate.points import MaskScores, PointsResult
from segloop.evaluate.truth import Counts


def result(*ious: tuple[float, float, float]) -> PointsResult:
    """Scores of one mask an image: after a click, after three, for a box."""
    scores = tuple(
        MaskScores(
            image=f"image{number}",
            annotation_id=1,
            category=None,
            relative_size=0.3,
            click_ious=(one, 0.1, three),
            three_ious=(one, 0.0, 0.0),
            three_predicted_ious=(0.9, 0.8, 0.7),
            single_iou=one,
            box_iou=box,
            worn=None,
            grown=None,
        )
        for number, (one, three, box) in enumerate(ious)
    )
    return PointsResult("cells", "model", PROTOCOL, Counts(len(ious), len(ious)), scores, 1.0)


BEFORE = result((0.2, 0.4, 0.5), (0.4, 0.6, 0.5))
AFTER = result((0.5, 0.5, 0.5), (0.7, 0.5, 0.5))


def test_each_mask_is_compared_with_itself() -> None:
    click, three, box = changes_between(BEFORE, AFTER)
    assert (click.prompt, three.prompt, box.prompt) == ("1 click", "3 clicks", "box")
    assert click.before.mean == pytest.approx(0.3)
    assert click.after.mean == pytest.approx(0.6)
    # Both masks gain the same: whichever images are drawn, so does the mean.
    assert [click.gain.low, click.gain.mean, click.gain.high] == pytest.approx([0.3] * 3)
    assert (three.gain.low, three.gain.high) == pytest.approx((-0.1, 0.1))
    assert three.gain.mean == pytest.approx(0.0)


def test_the_table_says_before_after_and_gain() -> None:
    lines = changes_table(changes_between(BEFORE, AFTER)).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["before", "0.300", "0.500", "0.500"],
        ["after", "0.600", "0.500", "0.500"],
        ["gain", "+0.300", "+0.000", "+0.000"],
    ]
    assert "+0.300 to +0.300" in lines[4]


def test_the_report_is_a_file_of_plain_json(tmp_path: Path) -> None:
    report = TuningReport(
        model="out/model.safetensors",
        start="default",
        recipe="finetune_lora",
        data="cells",
        num_images=5,
        num_masks=9,
        categories={"cell": 9},
        num_train_images=3,
        num_test_images=2,
        num_test_masks=2,
        steps=10,
        seconds=3.5,
        changes=changes_between(BEFORE, AFTER),
    )
    content = json.loads(write_tuning_report(tmp_path, report).read_text())
    assert content["task"] == "finetune"
    assert content["changes"][0]["after"]["mean"] == pytest.approx(0.6)
    assert content["conditions"]["machine"]["python"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_tuning_report(tmp_path / "file", replace(report, changes=()))
