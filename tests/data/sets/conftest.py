"""Tiny pictures, and files in the layouts of published sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

Pixels = npt.NDArray[np.generic]
Save = Callable[..., Path]


def disk(image_hw: tuple[int, int], center_xy: tuple[int, int], radius: int) -> Pixels:
    """A filled circle, True inside."""
    rows, columns = np.indices(image_hw)
    x, y = center_xy
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


@pytest.fixture
def make_disk() -> Callable[..., Pixels]:
    return disk


@pytest.fixture
def save_picture(tmp_path: Path) -> Save:
    """Writes a picture below tmp_path: an array, or a height and width of grey."""

    def save(inner: str, content: Any, mode: str | None = None) -> Path:
        path = tmp_path / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, tuple):
            content = np.full((*content, 3), 90, dtype=np.uint8)
        image = Image.fromarray(content)
        if mode == "P":
            image.putpalette([7 * value % 256 for value in range(768)])
        image.save(path)
        return path

    return save


@pytest.fixture
def save_json(tmp_path: Path) -> Save:
    def save(inner: str, content: Any) -> Path:
        path = tmp_path / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return save
