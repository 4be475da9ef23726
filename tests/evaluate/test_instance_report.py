from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from segloop.evaluate.comparison import compare_runs
from segloop.evaluate.detections import TruthBoxes
from segloop.evaluate.instance_report import instances_table, write_instances
from segloop.evaluate.instances import InstancesProtocol, InstancesResult, evaluate_instances
from segloop.evaluate.runs import read_run

HW = (24, 32)


@pytest.fixture
def result(samples, scripted, rectangle) -> InstancesResult:
    """Two images of one object each, of which the model finds every pixel of the first and half of the second."""
    whole = rectangle(HW, slice(4, 14), slice(6, 16))
    other = rectangle(HW, slice(4, 14), slice(18, 28))
    half = rectangle(HW, slice(4, 14), slice(18, 23))

    def answer(prompt, output) -> tuple[np.ndarray, float]:
        return (whole if prompt.box_xyxy[0] < 10 else half), 0.9

    return evaluate_instances(
        partial(scripted, answer),
        samples([[whole], [other]]),
        TruthBoxes(),
        name="drawn",
        protocol=InstancesProtocol(uses_categories=False),
    )


def test_the_table_has_precision_and_iou(result: InstancesResult) -> None:
    rows = instances_table([result]).splitlines()
    head, line, *published = (row.split() for row in rows)
    assert head[:7] == ["dataset", "images", "boxes", "noise", "AP", "95%", "AP50"]
    assert line[:4] == ["drawn", "2", "2", "0"]
    sam = "published on COCO: SAM ViT-H, boxes of ViTDet-H 0.465 0.308 0.510 0.617"
    assert " ".join(published[1]) == sam
    # Found at IoU .5 both, above only the first.
    assert line[6] == "1.000"
    assert 0.45 < float(line[4]) < 0.65
    assert line[-2:] == ["0.750", "0.750"]


def test_the_files_have_every_box(result: InstancesResult, tmp_path: Path) -> None:
    path = write_instances(tmp_path, [result], "truth")
    report = json.loads(path.read_text())
    assert report["task"] == "instances"
    assert report["datasets"][0]["counts"]["num_masks"] == 2
    rows = [json.loads(line) for line in (tmp_path / "instances.jsonl").read_text().splitlines()]
    boxes, images = rows[:2], rows[2:]
    assert [(row["image"], row["iou"]) for row in boxes] == [("image0", 1.0), ("image1", 0.5)]
    run = read_run(tmp_path)
    assert [one.image for one in run.tallies] == [row["image"] for row in images]
    ap = report["datasets"][0]["summary"]["levels"][0]["ap"]["mean"]
    assert compare_runs([run])[0].measure == "AP"
    assert compare_runs([run])[0].cells[0].mean.mean == pytest.approx(ap)
