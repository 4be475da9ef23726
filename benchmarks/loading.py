"""How fast training items come, beside the plain decoding of the same JPEGs, which is the most that could be had.

Run: python -m benchmarks.loading [DATASET...]. DATASET as for `segloop train --data`; without one, 24 images of SA-1B's size
with a hundred masks each are drawn.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.machine import Row, median_of, write
from segloop.data.image import load_image
from segloop.data.sa1b import SA1BDataset, open_all_sa1b
from segloop.geometry.rle import Rle, encode_rle_window
from segloop.train.config import DataConfig, InteractionConfig, OptimConfig, TrainConfig
from segloop.train.items import batches
from segloop.train.run import build_stream
from segloop.train.sam_step import sam_items

NUM_IMAGES, NUM_MASKS, IMAGE_HW = 24, 100, (1500, 2250)
WORKERS = 2
TURNS = 3


class Decoding(Dataset[int]):
    """Nothing but the JPEGs, decoded to RGB."""

    def __init__(self, encoded: Sequence[bytes]) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> int:
        return int(load_image(self._encoded[index]).size)


def draw_tar(path: Path) -> None:
    """Write images as large as SA-1B's, of smooth colours with some noise, and masks of all sizes."""
    rng = np.random.default_rng(0)
    height, width = IMAGE_HW
    with tarfile.open(path, "w") as archive:
        for number in range(NUM_IMAGES):
            coarse = rng.integers(0, 255, (30, 45, 3), dtype=np.uint8)
            smooth = np.asarray(
                Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16
            )
            noisy = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
            stream = io.BytesIO()
            Image.fromarray(noisy).save(stream, "JPEG", quality=85)
            annotations = []
            for row in range(NUM_MASKS):
                rle, (x, y, box_width, box_height), area = draw_blob(rng)
                annotations.append(
                    {
                        "id": row,
                        "segmentation": rle.to_json(),
                        "bbox": [x, y, box_width, box_height],
                        "area": area,
                    }
                )
            record = json.dumps({"image": {}, "annotations": annotations}).encode()
            for suffix, content in (("jpg", stream.getvalue()), ("json", record)):
                info = tarfile.TarInfo(f"sa_{number}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def draw_blob(rng: np.random.Generator) -> tuple[Rle, tuple[int, int, int, int], int]:
    """An ellipse with a wavy border, its box as COCO writes it, and its area."""
    height, width = IMAGE_HW
    radius = float(np.exp(rng.uniform(np.log(15), np.log(400))))
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    left, top = max(0, int(x - 1.2 * radius)), max(0, int(y - 1.2 * radius))
    ys, xs = np.ogrid[
        top : min(height, int(y + 1.2 * radius) + 1), left : min(width, int(x + 1.2 * radius) + 1)
    ]
    angle = np.arctan2(ys - y, xs - x)
    mask = np.hypot(xs - x, ys - y) < radius * (1 + 0.2 * np.sin(7 * angle))
    rows, columns = np.nonzero(mask)
    box = (
        left + int(columns.min()),
        top + int(rows.min()),
        int(np.ptp(columns)) + 1,
        int(np.ptp(rows)) + 1,
    )
    return encode_rle_window(mask, (left, top), IMAGE_HW), box, int(mask.sum())


def stream_config(num_images: int) -> TrainConfig:
    """As the ViT recipes read: 1024 pixels, up to 64 masks, no change to the image."""
    return TrainConfig(
        recipe="loading",
        model="vit_b",
        input_size=1024,
        num_steps=num_images,
        data=DataConfig(batch_size=1, max_masks=64, num_workers=WORKERS),
        interaction=InteractionConfig(),
        optim=OptimConfig(),
    )


def seconds_of(run: Callable[[], int]) -> float:
    """Seconds an image."""
    start = time.perf_counter()
    count = run()
    return (time.perf_counter() - start) / count


def measure(datasets: tuple[SA1BDataset, ...]) -> list[Row]:
    """Seconds an image of decoding and of the stream, by turns."""
    encoded = [
        dataset._bytes(dataset.sample_names[at], dataset._entries[at][1])
        for dataset in datasets
        for at in range(min(len(dataset), 200))
    ]
    config = stream_config(len(encoded))
    items = sam_items(build_stream(config, datasets, part="all"))

    def decode() -> int:
        loader: DataLoader[int] = DataLoader(Decoding(encoded), batch_size=1, num_workers=WORKERS)
        return sum(1 for _ in loader)

    def stream() -> int:
        return sum(1 for _ in batches(items, config))

    turns = [(seconds_of(decode), seconds_of(stream)) for _ in range(TURNS)]
    limit, full = (median_of(times) for times in zip(*turns, strict=True))
    return [
        Row(f"decode the JPEG, {WORKERS} processes", limit),
        Row(f"training item, {WORKERS} processes", full, ratio=limit / full),
    ]


def main() -> None:
    """Measure and write results/loading.md."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data: list[str | Path] = list(sys.argv[1:])
        if not data:
            data = [Path(folder) / "drawn.tar"]
            draw_tar(Path(folder) / "drawn.tar")
        rows = measure(open_all_sa1b(data))
    print(write("loading", rows, threads=WORKERS))


if __name__ == "__main__":
    main()
