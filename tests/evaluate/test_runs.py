from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from segloop.errors import InputError
from segloop.evaluate.average_precision import ImageOutcomes, TruthCount
from segloop.evaluate.boundaries import BoundaryCounts
from segloop.evaluate.edge_report import write_edges
from segloop.evaluate.edges import EdgeConfig, EdgesResult, ImageEdges
from segloop.evaluate.points import PointsProtocol, PointsResult
from segloop.evaluate.proposals import ImageProposals, ProposalsResult
from segloop.evaluate.recall import TruthScores
from segloop.evaluate.report import write_points, write_proposals
from segloop.evaluate.runs import Tally, read_run, read_runs
from segloop.evaluate.truth import Counts
from segloop.predict.automatic import AutomaticConfig


@pytest.fixture
def points(mask_scores, tmp_path: Path) -> Path:
    scores = (
        mask_scores(image="a", click_ious=(0.2, 0.6), category="cat", annotation_id=3),
        mask_scores(image="b", click_ious=(0.4,), box_iou=0.7),
    )
    result = PointsResult("drawn", "m", PointsProtocol(), Counts(2, 2), scores, 1.0)
    return write_points(tmp_path / "first", [result]).parent


def test_points_have_their_measures_and_calibration(points: Path) -> None:
    run = read_run(points)
    assert (run.label, run.task) == ("first", "points")
    assert run.measures == (
        "1 click",
        "2 clicks",
        "3 clicks",
        "5 clicks",
        "9 clicks",
        "oracle",
        "single",
        "box",
        "NoC@85",
        "failed@85",
        "NoC@90",
        "failed@90",
    )
    first, second = run.scores
    assert (first.image, first.category, first.annotation_id) == ("a", "cat", 3)
    assert first.values["1 click"] == 0.2
    assert first.values["9 clicks"] == 0.6
    assert second.values["3 clicks"] == 0.4
    assert first.key != second.key
    np.testing.assert_allclose(
        run.predicted_ious("drawn"), [[0.9, 0.5], [0.8, 0.4], [0.7, 0.3]] * 2
    )
    assert run.predicted_ious("other").shape == (0, 2)


def test_points_tell_the_clicks_to_a_target_and_failures(mask_scores, tmp_path: Path) -> None:
    scores = (
        mask_scores(image="a", click_ious=(0.2, 0.86, 0.9)),
        mask_scores(image="b", click_ious=(0.4, 0.87)),
    )
    protocol = PointsProtocol(max_clicks=12)
    write_points(tmp_path, [PointsResult("drawn", "m", protocol, Counts(2, 2), scores, 1.0)])
    first, second = (score.values for score in read_run(tmp_path).scores)
    assert [first[name] for name in ("NoC@85", "NoC@90")] == [2, 3]
    assert [second[name] for name in ("NoC@85", "NoC@90")] == [2, 12]
    assert [first["failed@90"], second["failed@85"], second["failed@90"]] == [0, 0, 1]


def test_proposals_have_recall_by_size_and_frequency(tmp_path: Path) -> None:
    scores = (
        TruthScores("a", 1, "cup", 9e9, "large", 0.5, 0.1, 0.2),
        TruthScores("a", 2, "cup", 1024, "small", 0.6, 0.3, 0.4, "rare", 0.7, "medium", 0.8),
    )
    images = (ImageProposals("a", 5, 5, 0.1),)
    result = ProposalsResult("lvis", "m", Counts(1, 2), scores, images, 1000, None, 0)
    write_proposals(tmp_path, [result], AutomaticConfig())
    run = read_run(tmp_path)
    large, small = (score.values for score in run.scores)
    assert large == {"recall": 0.1, "recall, large": 0.2, "best IoU": 0.5}
    of_small = {"recall, small": 0.4, "recall, medium": 0.8, "recall, rare": 0.7}
    assert small == {"recall": 0.3, **of_small, "best IoU": 0.6}
    in_order = ("recall", "recall, small", "recall, medium", "recall, large", "recall, rare")
    assert run.measures == (*in_order, "best IoU")


def test_edges_tell_who_found_them(tmp_path: Path) -> None:
    counts = BoundaryCounts("100", 10, (10, 5), (10, 5), (10, 5))
    results = [
        EdgesResult("bsds", finder, (ImageEdges(counts, 0.1),), None, 0)
        for finder in ("model", "Canny")
    ]
    write_edges(tmp_path, results, EdgeConfig())
    run = read_run(tmp_path)
    assert len({score.key for score in run.scores}) == 2
    assert [score.values for score in run.scores] == [{"best F": 1.0}] * 2
    # An operator is no second opinion of the model's.
    assert [score.dataset for score in run.scores] == ["bsds", "bsds, Canny"]
    assert run.tallies == (
        Tally("bsds", "", "100", counts),
        Tally("bsds, Canny", "", "100", counts),
    )


def test_edges_of_two_models_have_the_same_key(tmp_path: Path) -> None:
    counts = BoundaryCounts("100", 10, (10, 5), (10, 5), (10, 5))
    keys = []
    for finder in ("one model", "another"):
        write_edges(
            tmp_path / finder,
            [EdgesResult("bsds", finder, (ImageEdges(counts, 0.1),), None, 0)],
            EdgeConfig(),
        )
        (score,) = read_run(tmp_path / finder).scores
        keys.append(score.key)
    assert keys[0] == keys[1]


def test_boxes_moved_by_noise_are_measures_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text('{"task": "instances", "datasets": []}')
    row = {"dataset": "d", "image": "a", "annotation_id": 1, "category": "cat", "iou": 0.75}
    rows = [row | {"noise": 0.0, "first_iou": 0.5}, row | {"noise": 0.25, "first_iou": 0.125}]
    outcomes = ImageOutcomes((), (TruthCount("cat", None, (1, 1, 0, 0)),))
    rows.append({"dataset": "d", "image": "a", "noise": 0.25, "counts": asdict(outcomes)})
    (tmp_path / "instances.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    run = read_run(tmp_path)
    still, moved = run.scores
    assert still.values == {"first IoU": 0.5, "IoU fed back": 0.75}
    assert moved.values == {"first IoU, noise 0.25": 0.125, "IoU fed back, noise 0.25": 0.75}
    assert still.key != moved.key
    assert run.tallies == (Tally("d", "noise 0.25", "a", outcomes),)
    (tmp_path / "instances.jsonl").write_text('{"dataset": "d", "image": "a", "counts": {}}')
    with pytest.raises(InputError, match=r"line 1, is not a score of instances"):
        read_run(tmp_path)


def test_words_have_a_number_for_every_field_of_their_answers(tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text('{"task": "text", "datasets": []}')
    row = {"dataset": "d", "image": "a", "category": "cat"}
    row |= {"text": {"union_iou": 0.25, "is_found": True}, "other_text": None}
    row |= {"relative_size": 0.5, "num_objects": 1}
    (tmp_path / "text.jsonl").write_text(json.dumps(row) + "\n")
    (score,) = read_run(tmp_path).scores
    assert score.values == {"text union_iou": 0.25, "text is_found": 1.0}
    assert score.relative_size == 0.5


def test_what_is_no_result_is_refused(points: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no result of segloop evaluate"):
        read_run(tmp_path)
    lines = (points / "points.jsonl").read_text()
    (points / "points.jsonl").write_text(lines + '{"dataset": "drawn"}\n')
    with pytest.raises(InputError, match=r"line 3, is not a score of points"):
        read_run(points)
    (points / "points.jsonl").write_text(lines[:40])
    with pytest.raises(InputError, match=r"line 1, is not a score of points"):
        read_run(points)
    whole = (points / "points.json").read_text()
    (points / "points.json").write_text(whole[:100])
    with pytest.raises(InputError, match="is damaged"):
        read_run(points)
    (points / "points.json").write_text('{"task": "edges"}')
    with pytest.raises(InputError, match="is not a result of segloop evaluate points"):
        read_run(points)
    (points / "edges.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"several results: name one of .*points\.json, .*edges\.json"
    ):
        read_run(points)


def test_results_in_folders_of_one_name_are_known_by_their_paths(
    points: Path, tmp_path: Path
) -> None:
    other = tmp_path / "after" / "first"
    shutil.copytree(points, other)
    assert [run.label for run in read_runs([points, other])] == [str(points), str(other)]
    assert [run.label for run in read_runs([points])] == ["first"]


def test_of_several_results_in_a_folder_one_can_be_named(points: Path) -> None:
    alone = read_run(points)
    (points / "edges.json").write_text("{}")
    assert read_run(points / "points.json") == alone
    with pytest.raises(InputError, match="holds no result of segloop evaluate"):
        read_run(points / "text.json")
