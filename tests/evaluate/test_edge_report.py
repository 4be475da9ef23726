from __future__ import annotations

import json
from pathlib import Path

import pytest

from segloop.evaluate.boundaries import BoundaryCounts
from segloop.evaluate.edge_report import PUBLISHED, edges_table, write_edges
from segloop.evaluate.edges import EdgeConfig, EdgesResult, ImageEdges


def result(finder: str, right: int) -> EdgesResult:
    """Two images of 10 true pixels, at two thresholds; at the second, half of the first's right pixels are left."""
    counts = [
        BoundaryCounts(name, 10, (right, right // 2), (10, right // 2), (right, right // 2))
        for name in ("100", "200")
    ]
    images = tuple(ImageEdges(one, 0.5) for one in counts)
    return EdgesResult("bsds500-test", finder, images, limit=2, seed=0)


def test_a_table_has_what_was_scored_and_what_is_published() -> None:
    lines = edges_table([result("1234abcd", 10), result("Canny", 4)]).splitlines()
    assert lines[0].split() == ["edges", "images", "ODS", "95%", "OIS", "AP", "R50", "seconds"]
    assert lines[1].split()[:6] == ["model", "on", "bsds500-test", "2", "1.000", "1.000-1.000"]
    # Between the thresholds, where recall falls from .4 to .2 and precision rises from .4 to 1.
    assert lines[2].split()[:3] == ["Canny", "2", "0.429"]
    assert len(lines) == 3 + len(PUBLISHED)
    (sam,) = (line for line in lines if "SAM ViT-H" in line)
    assert sam.split()[-5:] == ["200", "0.768", "0.786", "0.794", "0.928"]


def test_the_file_has_the_curve_and_a_line_for_every_image(tmp_path: Path) -> None:
    path = write_edges(tmp_path, [result("1234abcd", 10)], EdgeConfig(points_per_side=8))
    report = json.loads(path.read_text())
    assert report["task"] == "edges"
    assert report["settings"] == {"points_per_side": 8, "box_nms_threshold": 0.7}
    (dataset,) = report["datasets"]
    assert dataset["model"] == "1234abcd"
    assert [point["recall"] for point in dataset["summary"]["curve"]] == [1.0, 0.5]
    assert dataset["summary"]["ods"]["threshold"] == pytest.approx(1 / 3)
    rows = [json.loads(line) for line in (tmp_path / "edges.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows] == ["100", "200"]
    assert rows[0]["best"]["f"] == 1.0
    assert rows[1]["counts"]["right"] == [10, 5]
    assert dataset["estimates"]["ods"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
