"""Small datasets in SA-1B layout, painted on the spot: every mask has a colour of its own in its image."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segloop.geometry.frames import BoolArray
from segloop.geometry.rle import encode_rle

Files = dict[str, bytes]
BACKGROUND = (20, 20, 20)
COLORS = ((240, 30, 30), (30, 240, 30), (30, 30, 240))


def paint(
    height: int, width: int, boxes: list[tuple[int, int, int, int]]
) -> tuple[bytes, list[BoolArray]]:
    """A PNG with one filled box (x0, y0, x1, y1) a mask, in the colours in turn, and the masks."""
    image = np.full((height, width, 3), BACKGROUND, dtype=np.uint8)
    masks = []
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        mask = np.zeros((height, width), dtype=np.bool_)
        mask[y0:y1, x0:x1] = True
        image[mask] = COLORS[number % len(COLORS)]
        masks.append(mask)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue(), masks


def annotation_record(mask: BoolArray, number: int = 1, **changes: Any) -> dict[str, Any]:
    """The SA-1B dictionary of one mask."""
    rows, columns = np.nonzero(mask)
    box = [0, 0, 0, 0]
    if len(rows):
        x, y = int(columns.min()), int(rows.min())
        box = [x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1]
    record = {
        "id": number,
        "segmentation": encode_rle(mask).to_json(),
        "bbox": box,
        "area": int(mask.sum()),
    }
    return {**record, **changes}


def sample_files(
    name: str, height: int, width: int, boxes: list[tuple[int, int, int, int]], **changes: Any
) -> Files:
    """NAME.png and NAME.json of a painted image; changes apply to every annotation."""
    image, masks = paint(height, width, boxes)
    annotations = [annotation_record(mask, 1 + at, **changes) for at, mask in enumerate(masks)]
    return {
        f"{name}.png": image,
        f"{name}.json": json.dumps({"image": {}, "annotations": annotations}).encode(),
    }


@pytest.fixture
def paint_files() -> Callable[..., Files]:
    return sample_files


@pytest.fixture
def record_of() -> Callable[..., dict[str, Any]]:
    return annotation_record


@pytest.fixture
def write_tar(tmp_path: Path) -> Callable[..., Path]:
    def write(files: Files, name: str = "set.tar", mode: str = "w", folder: str = "") -> Path:
        path = tmp_path / name
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for file_name, content in files.items():
                info = tarfile.TarInfo(folder + file_name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[..., Path]:
    def write(files: Files, name: str = "set") -> Path:
        path = tmp_path / name
        path.mkdir()
        for file_name, content in files.items():
            (path / file_name).write_bytes(content)
        return path

    return write
