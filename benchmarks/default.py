"""Time the default model on this machine: `make bench`, or `python -m benchmarks`.

Medians of several runs after a warm-up. Start-up is measured in fresh processes, so it includes what a shell user waits for.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime

import segloop

PHOTO = Path(__file__).resolve().parent.parent / "examples" / "coffee.jpg"
RUNS = 7


def main() -> None:
    """Print one line for each thing measured."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"onnxruntime {onnxruntime.__version__}; medians of {RUNS} runs"
    )
    show("import segloop, cold", median_seconds(lambda: python("import segloop")))
    with tempfile.TemporaryDirectory() as folder:
        show("segloop segment, shell to files", median_seconds(lambda: segment_in_shell(folder)))
    for threads in (1, os.cpu_count() or 1):
        predictor = segloop.load(threads=threads)
        embedding = predictor.encode(PHOTO)
        show(f"encode, {threads} threads", median_seconds(partial(predictor.encode, PHOTO)))
        for count in (1, 64):
            prompts = point_prompts(count, embedding.frame.image_hw)
            seconds = median_seconds(partial(predictor.segment, embedding, prompts))
            show(f"segment, {count} clicks, {threads} threads, each", seconds / count)


def point_prompts(count: int, image_hw: tuple[int, int]) -> list[segloop.Prompt]:
    """So many clicks at random places."""
    rng = np.random.default_rng(0)
    height, width = image_hw
    return [
        segloop.Prompt(points_xy=[xy]) for xy in rng.uniform((0, 0), (width, height), (count, 2))
    ]


def segment_in_shell(folder: str) -> None:
    """The command a newcomer types first."""
    program = Path(sys.executable).with_name("segloop")
    command = [program, "segment", PHOTO, "--point", "300,200", "-o", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def python(code: str) -> None:
    """Run code in a fresh interpreter."""
    subprocess.run([sys.executable, "-c", code], check=True)


def median_seconds(run: Callable[[], object]) -> float:
    """Median time of RUNS calls, after one that does not count."""
    run()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def show(what: str, seconds: float) -> None:
    """One line of the table."""
    print(f"{what:<45} {1000 * seconds:9.1f} ms")


if __name__ == "__main__":
    main()
