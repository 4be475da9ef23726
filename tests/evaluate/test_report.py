from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

import segloop
from segloop.errors import InputError
from segloop.evaluate.baselines import BaselineScores, BaselinesResult
from segloop.evaluate.conditions import Conditions, DataOrigin, Device, Machine, Origin
from segloop.evaluate.pages import as_markdown, report_tables
from segloop.evaluate.points import PointsProtocol, PointsResult, Refinement
from segloop.evaluate.proposals import ImageProposals, ProposalsResult
from segloop.evaluate.recall import TruthScores
from segloop.evaluate.report import points_table, proposals_table, write_points, write_proposals
from segloop.evaluate.runs import read_run
from segloop.evaluate.truth import Counts
from segloop.predict.automatic import AutomaticConfig


@pytest.fixture
def results(mask_scores) -> list[PointsResult]:
    refinement = Refinement(0.61, 0.72)
    first = mask_scores(box_iou=0.7, click_ious=(0.25, 0.9), worn=refinement, grown=refinement)
    second = mask_scores(box_iou=0.5, click_ious=(0.75, 0.95))
    return [
        PointsResult("coco", "model-1", PointsProtocol(), Counts(1, 1, 2, 3), (first,), 1.5),
        PointsResult("davis", "model-1", PointsProtocol(), Counts(1, 1), (second,), 0.5),
    ]


@pytest.fixture
def baselines() -> list[BaselinesResult]:
    score = BaselineScores("a", 0, 0.62, 0.44, 0.21)
    return [BaselinesResult("coco", Counts(1, 1), (score,), 0, 2.0)]


def test_the_table_has_a_row_for_each_dataset_their_mean_and_the_baselines(results, baselines):
    lines = points_table(results, baselines).splitlines()
    head, coco, davis, mean = (line.split() for line in lines[:4])
    assert head[:3] == ["dataset", "images", "masks"]
    assert coco[:4] == ["coco", "1", "1", "0.250"]
    assert davis[:4] == ["davis", "1", "1", "0.750"]
    assert mean[:4] == ["mean", "of", "datasets", "0.500"]
    assert lines[5].startswith("mask prompt, 5 px off")
    assert lines[6].split() == ["coco", "0.610", "0.720", "0.610", "0.720"]
    assert lines[7].split() == ["davis", "-", "-", "-", "-"]
    rows = {line.split("  ")[0]: line.split()[-1] for line in lines[9:]}
    assert rows["filled box"] == "0.620"
    assert rows["GrabCut from box"] == "0.440"
    assert rows["Felzenszwalb region"] == "0.210"


def test_columns_of_the_table_line_up(results):
    lines = points_table(results).splitlines()[:4]
    assert len({len(line) for line in lines}) == 1


def test_the_table_of_baselines_alone_and_of_nothing(baselines):
    assert points_table([], baselines).startswith("baseline")
    assert points_table([]) == ""


def test_one_dataset_has_no_mean(results):
    assert "mean of datasets" not in points_table(results[:1])


def test_files_say_what_was_measured_how_and_where(results, baselines, tmp_path):
    path = write_points(tmp_path / "new" / "folder", results, baselines)
    assert path.name == "points.json"
    report = json.loads(path.read_text())
    coco = report["datasets"][0]
    assert coco["name"] == "coco"
    assert coco["model"] == "model-1"
    assert coco["protocol"] == {
        "clicks": [1, 2, 3, 5, 9],
        "max_clicks": 20,
        "limit": None,
        "seed": 0,
        "first_click": "center",
    }
    assert coco["counts"] == {"num_images": 1, "num_masks": 1, "num_crowds": 2, "num_empty": 3}
    assert coco["seconds"] == 1.5
    assert coco["summary"]["clicks"][0]["iou"]["mean"] == 0.25
    assert coco["summary"]["box"] == {"mean": 0.7, "low": 0.7, "high": 0.7}
    assert report["mean_of_datasets"]["box"] == pytest.approx(0.6)
    assert report["baselines"][0]["summary"]["grabcut_iou"]["mean"] == 0.44
    assert report["versions"]["segloop"] == segloop.__version__
    assert report["machine"]["processors"] >= 1


def test_there_is_a_line_for_every_mask(results, baselines, tmp_path):
    write_points(tmp_path, results, baselines)
    rows = [json.loads(line) for line in (tmp_path / "points.jsonl").read_text().splitlines()]
    assert [row["dataset"] for row in rows] == ["coco", "davis", "coco"]
    assert rows[0]["click_ious"] == [0.25, 0.9]
    assert rows[0]["worn"] == {"iou_in": 0.61, "iou_out": 0.72}
    assert rows[2]["filled_box_iou"] == 0.62


def test_what_could_not_be_measured_is_null(tmp_path):
    nothing = PointsResult("none", "m", PointsProtocol(), Counts(1), (), 0.0)
    report = json.loads(write_points(tmp_path, [nothing]).read_text())
    assert report["datasets"][0]["summary"]["spearman"] is None
    assert "NaN" not in (tmp_path / "points.json").read_text()
    assert not any(
        isinstance(value, float) and math.isnan(value)
        for value in report["mean_of_datasets"].values()
    )


def test_a_folder_that_is_a_file_is_one_line(results, tmp_path):
    target = tmp_path / "taken"
    target.write_text("a file")
    with pytest.raises(InputError, match="cannot write") as raised:
        write_points(target, results)
    assert "\n" not in str(raised.value)
    assert target.read_text() == "a file"


def test_no_partial_file_stays_behind(results, tmp_path):
    write_points(tmp_path, results)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["points.json", "points.jsonl"]


@pytest.fixture
def proposals() -> list[ProposalsResult]:
    scores = (
        TruthScores("a", 0, "cup", 900.0, "small", 0.8, 0.7, 0.6),
        TruthScores("a", 1, None, 5000.0, "medium", 0.4, 0.0, 0.2),
    )
    images = (ImageProposals("a", 1200, 1000, 2.5),)
    return [ProposalsResult("coco", "model-1", Counts(1, 2, 1, 0), scores, images, 1000, 1, 0)]


def test_the_table_of_proposals(proposals):
    head, row, *published = (line.split() for line in proposals_table(proposals).splitlines())
    assert head[:7] == ["dataset", "images", "masks", "AR@1000", "small", "medium", "large"]
    assert row == ["coco", "1", "2", "0.350", "0.600", "0.200", "-", "0.600", "1000", "2.5"]
    assert " ".join(published[2]) == "published on LVIS v1 val: SAM ViT-H 0.593 0.455 0.816 0.869"
    assert proposals_table([]).startswith("dataset")


def test_the_table_of_proposals_has_the_published_recall_by_frequency(proposals):
    scores = (replace(proposals[0].scores[0], frequency="rare", found_in_frequency=0.5),)
    table = proposals_table([replace(proposals[0], scores=scores)])
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert "coco rare 1 0.500" in lines
    assert "published on LVIS v1 val: SAM ViT-H rare 0.658" in lines


def test_points_on_a_set_of_the_paper_hold_what_is_published(results, tmp_path):
    write_points(tmp_path, [replace(results[0], name="IBD")])
    report = json.loads((tmp_path / "points.json").read_text())
    assert report["published"]["five_clicks_mean"] == pytest.approx(90)
    (row,) = (row for row in report["published"]["rows"] if row["name"] == "IBD")
    assert row["title"].endswith("(layout unconfirmed)")
    run = read_run(tmp_path)
    page = as_markdown("points", report_tables([run], []), {})
    assert "(layout unconfirmed) | 1 | 1 | 25.0 | 467 | 11953 | -0.3 |" in page
    assert "Published for SAM ViT-H on all 23: 58.1 (1 click), 81.3 (5 clicks)." in page


def test_written_proposals_hold_settings_summary_and_every_mask(proposals, tmp_path):
    settings = AutomaticConfig(box_nms_threshold=0.9)
    written = write_proposals(tmp_path, proposals, settings)
    assert written == tmp_path / "proposals.json"
    report = json.loads(written.read_text())
    assert report["task"] == "proposals"
    assert report["settings"]["box_nms_threshold"] == 0.9
    (dataset,) = report["datasets"]
    assert dataset["model"] == "model-1"
    protocol = {"max_proposals": 1000, "ranking": "quality", "limit": 1, "seed": 0}
    assert dataset["protocol"] == protocol
    assert dataset["summary"]["average_recall"]["mean"] == pytest.approx(0.35)
    assert dataset["summary"]["sizes"][2]["average_recall"]["mean"] is None
    assert dataset["images"][0]["seconds"] == 2.5
    assert report["versions"]["segloop"] == segloop.__version__
    rows = [json.loads(line) for line in (tmp_path / "proposals.jsonl").read_text().splitlines()]
    assert [row["found"] for row in rows] == [0.7, 0.0]
    assert rows[0]["category"] == "cup"
    assert report["settings"]["outputs"] == "three"


def test_a_result_tells_what_the_run_was_started_with(results, proposals, tmp_path):
    machine = Machine("system", None, 2, None, "3")
    origin = Origin(
        "toy.pt",
        Device("cuda", "H100"),
        (DataOrigin("coco", "DATA/coco.tar", "12ab"),),
        Conditions(machine, {"numpy": "1"}, "a commit long ago"),
    )
    written = [
        write_points(tmp_path, results, origin=origin),
        write_proposals(tmp_path, proposals, AutomaticConfig(), outputs="single", origin=origin),
    ]
    for report in (json.loads(path.read_text()) for path in written):
        assert report["model"] == "toy.pt"
        assert report["device"] == {"name": "cuda", "processor": "H100"}
        assert report["data"] == [{"name": "coco", "path": "DATA/coco.tar", "stamp": "12ab"}]
        assert report["commit"] == "a commit long ago"
    assert report["settings"]["outputs"] == "single"
