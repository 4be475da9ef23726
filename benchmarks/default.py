"""The default model as its users meet it: start-up, in fresh processes, then one image, one click, many clicks."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

import segloop
from benchmarks.machine import Row, medians, write

PHOTO = Path(__file__).resolve().parent.parent / "examples" / "coffee.jpg"
SPOON_BOX, SPOON_POINT = (326, 240, 408, 326), (367, 283)
CUP_POINT = (280, 190)
MANY = 64


def run(threads: int, times: int = 7) -> list[Row]:
    """Medians after a warm-up."""
    predictor, alone = segloop.load(threads=threads), segloop.load(threads=1)
    embedding, near = predictor.encode(PHOTO, keep_pixels=False), predictor.encode(PHOTO)
    one, many = (point_prompts(count, embedding.frame.image_hw) for count in (1, MANY))
    spoon = segloop.Prompt(box_xyxy=SPOON_BOX)
    on_spoon, on_cup = (segloop.Prompt(points_xy=[xy]) for xy in (SPOON_POINT, CUP_POINT))
    with tempfile.TemporaryDirectory() as folder:
        seconds = medians(
            {
                "import segloop, cold": lambda: python("import segloop"),
                "segloop segment, from shell to files": partial(segment_in_shell, folder),
                "encode": partial(predictor.encode, PHOTO),
                "encode, one thread": partial(alone.encode, PHOTO),
                "segment, one click, as the model draws": partial(
                    predictor.segment, embedding, one
                ),
                "the same, one thread": partial(alone.segment, embedding, one),
                "segment, a large thing clicked, borders sharpened": partial(
                    predictor.segment, near, on_cup
                ),
                "segment, a small thing clicked, looked at closer": partial(
                    predictor.segment, near, on_spoon
                ),
                "segment, a small box, looked at closer": partial(predictor.segment, near, spoon),
                f"segment, {MANY} clicks, as the model draws": partial(
                    predictor.segment, embedding, many
                ),
                f"{MANY} clicks, one thread": partial(alone.segment, embedding, many),
            },
            times,
        )
    return [Row(what, median) for what, median in seconds.items()]


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


if __name__ == "__main__":
    cores = os.cpu_count() or 1
    print(write("default", run(cores), cores))
