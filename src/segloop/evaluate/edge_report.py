"""Edges as a table beside what is published, and as a file: edges.json with numbers and curves, edges.jsonl by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from segloop.evaluate.boundaries import best_point
from segloop.evaluate.edges import EdgeConfig, EdgesResult
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
    """ODS, OIS, AP and R50 as text, the published ones below."""
    rows = [["edges", "images", "ODS", "OIS", "AP", "R50", "seconds"]]
    for result in results:
        summary = result.summary
        numbers: tuple[float | None, ...] = (
            summary.ods.f,
            summary.ois.f,
            summary.average_precision,
            summary.recall_at_half_precision,
        )
        seconds = sum(image.seconds for image in result.images) / len(result.images)
        name = result.finder if result.finder in ("Sobel", "Canny") else f"model on {result.name}"
        rows.append([name, str(summary.num_images), *map(_show, numbers), f"{seconds:.1f}"])
    for one in PUBLISHED:
        numbers = (one.ods, one.ois, one.average_precision, one.recall_at_half_precision)
        rows.append([f"published: {one.name}", "200", *map(_show, numbers), ""])
    return format_columns(rows)


def write_edges(folder: str | Path, results: Sequence[EdgesResult], config: EdgeConfig) -> Path:
    """Write edges.json and edges.jsonl, each whole or not at all; returns the path of edges.json.

    Raises InputError where the folder cannot be written.
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
        }
        for result in results
        for image in result.images
    ]
    return write_report(Path(folder), report, rows)


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
