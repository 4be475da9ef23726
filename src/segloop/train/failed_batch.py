"""What a run leaves behind when its loss or gradient is not finite: the batch, the weights and the step, to look into.

A file of tensors and plain values, so that reading it executes nothing.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from segloop.errors import WeightsError

FAILED_NAME = "failed_batch.pt"
_NAMES = "names"
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class FailedBatch:
    """Step `step` of a run and why it failed; parts: this process's batches of the step, field by field, arrays as tensors.

    weights: the model's before the step. names: the images of all parts, empty where the batches do not say.
    """

    step: int
    reason: str
    parts: tuple[dict[str, Any], ...]
    weights: dict[str, Tensor]
    names: tuple[str, ...]

    def describe(self) -> str:
        """One line: the step, the reason and the images."""
        shown = ", ".join(self.names[:_SHOWN])
        more = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN else ""
        images = f"; images {shown}{more}" if self.names else ""
        return f"step {self.step}: {self.reason}{images}"


def failed_path(folder: Path, rank: int = 0) -> Path:
    """Where the process of that rank writes: failed_batch.pt, or failed_batch.RANK.pt for all but the first."""
    name = Path(FAILED_NAME)
    return folder / (f"{name.stem}.{rank}{name.suffix}" if rank else name)


def save_failed_batch(
    folder: Path,
    parts: Sequence[Any],
    weights: Mapping[str, Tensor],
    *,
    step: int,
    reason: str,
    rank: int = 0,
) -> Path:
    """Write failed_path(folder, rank), whole or not at all, over one from before.

    parts: the batches, dataclasses of tensors, arrays and plain values; a field `names` says which images they hold.
    weights: the model's; where processes share them, this process's part is written.
    Raises WeightsError, with the reason in it, where the disk refuses.
    """
    path = failed_path(folder, rank)
    partial = path.with_suffix(".partial")
    content = {
        "step": step,
        "reason": reason,
        "parts": [_plain(part) for part in parts],
        "weights": {name: _share(value) for name, value in weights.items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(content, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            partial.unlink()
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{reason} at step {step}; cannot write {path}: {why}") from error
    return path


def load_failed_batch(path: str | Path) -> FailedBatch:
    """Read what save_failed_batch wrote, on the CPU; WeightsError for anything else."""
    file = Path(path)
    if file.is_dir():
        file = file / FAILED_NAME
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of what it then refuses
            content = torch.load(file, map_location="cpu", weights_only=True)
        parts = tuple(dict(part) for part in content["parts"])
        names = tuple(str(name) for part in parts for name in part.get(_NAMES, ()))
        return FailedBatch(
            int(content["step"]), str(content["reason"]), parts, dict(content["weights"]), names
        )
    except FileNotFoundError as error:
        raise WeightsError(f"{file}: no such file; a run writes it when it fails") from error
    except (
        OSError,
        RuntimeError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        BadZipFile,
        pickle.UnpicklingError,
    ) as error:
        raise WeightsError(f"{file} is damaged, or no failed batch of a run") from error


def _share(value: Tensor) -> Tensor:
    """What this process holds of a tensor, on the CPU; putting the whole together would need the other processes."""
    return (value.to_local() if isinstance(value, DTensor) else value).detach().cpu()


def _plain(value: Any) -> Any:
    """The same value made of tensors on the CPU, lists, tables and what weights_only reads."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
