"""Edges as a table beside what is published, and as files.

edges.json has the numbers with their intervals and the curves, edges.jsonl the counts of every image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from segloop.evaluate.boundaries import BoundaryEstimates, best_point, bootstrap_boundaries
from segloop.evaluate.conditions import Origin
from segloop.evaluate.edges import OPERATORS, EdgeConfig, EdgesResult
from segloop.evaluate.report import format_columns, write_report


@dataclass(frozen=True)
class PublishedEdges:
    """Published numbers on the 200 test images; None where none were given."""

    name: str
    ods: float
    ois: float | None
    average_precision: float | None
    recall_at_half_precision: float | None


# Paper, table 3 and appendix D.2.
PUBLISHED = (
    PublishedEdges("SAM ViT-H", 0.768, 0.786, 0.794, 0.928),
    PublishedEdges("HED, trained on BSDS", 0.788, 0.808, 0.840, 0.923),
    PublishedEdges("EDETR, trained on BSDS", 0.840, 0.858, 0.896, 0.930),
    PublishedEdges("Sobel", 0.539, None, None, None),
    PublishedEdges("Canny", 0.600, 0.640, 0.580, None),
    PublishedEdges("Felzenszwalb-Huttenlocher", 0.610, 0.640, 0.560, None),
)


def edges_table(results: Sequence[EdgesResult]) -> str:
    """ODS, OIS, AP and R50 as text, the interval of ODS beside it, the published ones below."""
    rows = [["edges", "images", "ODS", "95%", "OIS", "AP", "R50", "seconds"]]
    for result in results:
        found = estimate_edges(result)
        means = (found.ods, found.ois, found.average_precision, found.recall_at_half_precision)
        ods, *others = (_show(one.mean) for one in means)
        interval = f"{_show(found.ods.low)}-{_show(found.ods.high)}"
        seconds = sum(image.seconds for image in result.images) / len(result.images)
        name = result.finder if result.finder in OPERATORS else f"model on {result.name}"
        count = str(len(result.images))
        rows.append([name, count, ods, interval, *others, f"{seconds:.1f}"])
    for one in PUBLISHED:
        numbers = (one.ois, one.average_precision, one.recall_at_half_precision)
        rows.append([f"published: {one.name}", "200", _show(one.ods), "", *map(_show, numbers), ""])
    return format_columns(rows)


def estimate_edges(result: EdgesResult) -> BoundaryEstimates:
    """The numbers of the benchmark with their 95% intervals, from drawing the images anew."""
    return bootstrap_boundaries([image.counts for image in result.images], result.seed)


def write_edges(
    folder: str | Path,
    results: Sequence[EdgesResult],
    config: EdgeConfig,
    origin: Origin | None = None,
) -> Path:
    """Write edges.json and edges.jsonl, each whole or not at all; returns the path of edges.json.

    origin: see write_report. Raises InputError where the folder cannot be written.
    """
    report = {
        "task": "edges",
        "settings": asdict(config),
        "datasets": [
            {
                "name": result.name,
                "model": result.finder,
                "protocol": {"limit": result.limit, "seed": result.seed},
                "counts": {"num_images": len(result.images)},
                "summary": asdict(result.summary),
                "estimates": asdict(estimate_edges(result)),
            }
            for result in results
        ],
    }
    rows = [
        {
            "dataset": result.name,
            "finder": result.finder,
            "image": image.counts.image,
            "seconds": image.seconds,
            "best": asdict(best_point(image.counts)),
            "counts": asdict(image.counts),
        }
        for result in results
        for image in result.images
    ]
    return write_report(Path(folder), report, rows, origin)


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
