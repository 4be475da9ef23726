"""Synthetic training data in SA-1B layout, and a recipe small enough for a test."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segloop.data.sa1b import SA1BDataset, open_sa1b
from segloop.geometry.rle import encode_rle
from segloop.train.config import DataConfig, InteractionConfig, OptimConfig, TrainConfig

SIDE = 64
# Bright shapes: image by image the boxes x0, y0, x1, y1.
SHAPES = (
    ((8, 8, 30, 28), (38, 34, 58, 58)),
    ((6, 36, 28, 60), (36, 6, 60, 26)),
)


def write_shapes(path: Path) -> Path:
    """Two images of two bright boxes each on a dark ground, as a tar."""
    with tarfile.open(path, "w") as archive:
        for number, boxes in enumerate(SHAPES):
            image = np.full((SIDE, SIDE, 3), 25, dtype=np.uint8)
            annotations = []
            for at, (x0, y0, x1, y1) in enumerate(boxes):
                mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
                mask[y0:y1, x0:x1] = True
                image[mask] = (250, 210, 60) if at else (60, 200, 250)
                annotations.append(
                    {
                        "id": at + 1,
                        "segmentation": encode_rle(mask).to_json(),
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": int(mask.sum()),
                    }
                )
            stream = io.BytesIO()
            Image.fromarray(image).save(stream, "PNG")
            record = json.dumps({"annotations": annotations}).encode()
            # Not held out: these names fall on the training side of the split.
            for suffix, content in (("png", stream.getvalue()), ("json", record)):
                info = tarfile.TarInfo(f"shape_{number}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The toy model is too small to share: on a busy machine threads only wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture
def shapes_tar(tmp_path: Path) -> Path:
    return write_shapes(tmp_path / "shapes.tar")


@pytest.fixture
def shapes(shapes_tar: Path) -> SA1BDataset:
    return open_sa1b(shapes_tar)


@pytest.fixture
def small_config() -> TrainConfig:
    """Eight steps of the toy model with everything a run has: clicks, a mask-only round, skipped blocks, a running mean."""
    return TrainConfig(
        recipe="test",
        model="toy",
        input_size=SIDE,
        num_steps=8,
        data=DataConfig(batch_size=2, max_masks=2, num_workers=0),
        interaction=InteractionConfig(num_clicks=1, num_mask_only=1, first_mask=0.2),
        drop_path=0.5,
        optim=OptimConfig(learning_rate=1e-3, warmup_steps=3, clip_norm=1.0, ema=0.9),
        log_every=1,
        checkpoint_every=3,
        validate_every=4,
    )
