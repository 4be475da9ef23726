"""What every result says of where it was measured, and how results are timed and written."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segloop.evaluate.conditions import describe_conditions

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("segloop", "torch", "transformers", "onnxruntime", "openvino", "numpy")


@dataclass(frozen=True)
class Row:
    """One thing measured: median seconds, and where there is a reference the times faster and the largest difference.

    memory_bytes: how far resident memory rose.
    """

    what: str
    seconds: float
    ratio: float | None = None
    difference: float | None = None
    memory_bytes: int | None = None


def median_of(seconds: Iterable[float]) -> float:
    """The middle one."""
    return float(statistics.median(seconds))


def medians(runs: dict[str, Callable[[], object]], times: int) -> dict[str, float]:
    """Median seconds of each after a warm-up, taking turns so that a busy machine slows all alike."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(times):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def write(subject: str, rows: Sequence[Row], threads: int) -> str:
    """Write the rows to results/ as JSON and Markdown; the Markdown."""
    table = [
        "| what | median, ms | times faster | largest difference | memory, MB |",
        "|---|--:|--:|--:|--:|",
        *(
            f"| {row.what} | {1000 * row.seconds:.1f} | {_ratio(row)} | {_gap(row)} | {_memory(row)} |"
            for row in rows
        ),
    ]
    return write_table(subject, table, [asdict(row) for row in rows], threads)


def write_table(
    subject: str,
    table: Sequence[str],
    rows: Sequence[dict[str, Any]],
    threads: int,
    accelerator: str | None = None,
) -> str:
    """Write a table that is Markdown already, and the same rows as JSON; accelerator: its name, where one was used."""
    machine = describe_conditions().machine
    place: dict[str, Any] = {
        "machine": ", ".join(
            filter(None, (f"{platform.system()} {platform.machine()}", machine.processor))
        ),
        "processors": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }
    if accelerator is not None:
        place["accelerator"] = accelerator
    lines = [
        f"# {subject}",
        "",
        ("" if accelerator is None else f"{accelerator}, ")
        + f"{place['machine']}, {threads} of {place['processors']} cores, Python {place['python']}, "
        + ", ".join(f"{name} {found}" for name, found in place["versions"].items()),
        "",
        *table,
    ]
    RESULTS.mkdir(exist_ok=True)
    text = "\n".join(lines) + "\n"
    (RESULTS / f"{subject}.md").write_text(text, encoding="utf-8")
    report = {**place, "rows": list(rows)}
    (RESULTS / f"{subject}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return text


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"{row.ratio:.2f}"


def _gap(row: Row) -> str:
    return "" if row.difference is None else f"{row.difference:.1e}"


def _memory(row: Row) -> str:
    return "" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:.0f}"
