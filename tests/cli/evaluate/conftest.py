"""A dataset of two pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segloop.geometry.rle import encode_rle


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pictures of a bright rectangle with its mask, in SA-1B layout."""
    folder = tmp_path / "rectangles"
    folder.mkdir()
    for number in range(2):
        mask = np.zeros((48, 64), dtype=bool)
        mask[10 : 30 + number, 12:50] = True
        picture = np.where(mask[..., None], 220, 40).astype(np.uint8).repeat(3, axis=2)
        Image.fromarray(picture).save(folder / f"{number}.jpg")
        annotation = {
            "id": 1,
            "segmentation": encode_rle(mask).to_json(),
            "bbox": [12, 10, 38, 20 + number],
            "area": int(mask.sum()),
        }
        record = {"image": {"image_id": number}, "annotations": [annotation]}
        (folder / f"{number}.json").write_text(json.dumps(record))
    return folder
