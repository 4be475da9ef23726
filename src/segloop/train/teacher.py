"""A trained model whose embeddings another encoder learns to give, and the folder that keeps them.

An embedding is computed from one image at a time and rounded to float16, kept or not; so whether it came from the disk, and
what else was in its batch, changes nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segloop.errors import InputError
from segloop.model.config import ModelConfig
from segloop.model.sam import Sam
from segloop.weights.catalog import CHECKPOINTS, default_weights, fetch, file_identity
from segloop.weights.load import load_sam

HalfArray = npt.NDArray[np.float16]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model and what tells its embeddings from others'; it is never trained, and no part of what is."""

    model: Sam
    identity: str
    precision: Precision = "float32"

    @property
    def config(self) -> ModelConfig:
        """The model's sizes."""
        return self.model.config

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, G, G) of its embeddings."""
        return self.config.width, self.config.grid_size, self.config.grid_size

    def to(self, device: torch.device) -> Teacher:
        """The same on a device."""
        return replace(self, model=self.model.to(device))

    def embed(self, image: Tensor) -> Tensor:
        """The embedding (C, G, G) float16 of a prepared input (3, S, S) on the same device."""
        is_half = self.precision == "bfloat16"
        with torch.no_grad(), torch.autocast(image.device.type, torch.bfloat16, enabled=is_half):
            return self.model.encode(image[None])[0].to(torch.float16)


def load_teacher(name_or_path: str | Path, precision: Precision = "float32") -> Teacher:
    """The teacher in a weights file, or of a name: default, vit_b, vit_l, vit_h.

    Raises WeightsError for a file that cannot be used.
    """
    if name_or_path == "default":
        path = default_weights().model
    elif name_or_path in CHECKPOINTS:
        path = fetch(CHECKPOINTS[str(name_or_path)])
    else:
        path = Path(name_or_path)
    model = load_sam(path).requires_grad_(False)
    identity = file_identity(path)
    return Teacher(model, identity if precision == "float32" else f"{identity}-half", precision)


@dataclass(frozen=True)
class EmbeddingFiles:
    """Embeddings of one shape by one teacher, a file each, in folder/IDENTITY; any number of processes may share it."""

    folder: Path
    identity: str
    shape: tuple[int, int, int]

    def read(self, key: str) -> HalfArray | None:
        """The embedding (C, G, G) of an image; None where there is none, or a damaged one."""
        try:
            features = np.load(self._path(key), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        fits = features.dtype == np.float16 and features.shape == self.shape
        return features if fits else None

    def write(self, key: str, features: HalfArray) -> None:
        """Keep an embedding, whole or not at all; InputError where the disk refuses."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not by tempfile, whose files are their owner's alone.
            partial = path.with_name(f"partial.{uuid4().hex}")
            try:
                with partial.open("xb") as stream:
                    np.save(stream, features, allow_pickle=False)
                os.replace(partial, path)
            except BaseException:
                with suppress(OSError):
                    partial.unlink()
                raise
        except OSError as error:
            raise InputError(
                f"cannot keep embeddings in {self.folder}: {error.strerror or error}; "
                "make room, or go on without keeping them"
            ) from error

    def _path(self, key: str) -> Path:
        return self.folder / self.identity / key[:2] / f"{key}.npy"
