"""The state of a run on disk: written whole or not at all, and refused where it does not belong."""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor

from segloop.errors import WeightsError
from segloop.train.config import TrainConfig

CHECKPOINT_NAME = "checkpoint.pt"


@dataclass(frozen=True, eq=False)
class TrainState:
    """All that a run needs to go on as if it had not stopped; step counts the finished ones."""

    step: int
    model: dict[str, Tensor]
    mean: dict[str, Tensor]
    optimizer: dict[str, Any]
    random_state: Tensor


def save_checkpoint(folder: Path, state: TrainState, config: TrainConfig) -> Path:
    """Write folder/checkpoint.pt by way of a temporary file; WeightsError where the disk refuses."""
    target = folder / CHECKPOINT_NAME
    partial = target.with_suffix(".partial")
    record = {**vars(state), "config": asdict(config)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            torch.save(record, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"cannot write {target}: {reason}; the checkpoint before it is kept"
        ) from error
    return target


def load_checkpoint(folder: Path, config: TrainConfig) -> TrainState | None:
    """Read the state of a run of this recipe, None where there is none.

    Raises WeightsError for a damaged file or one of another recipe, model, input size, seed or set of frozen
    parameters.
    """
    source = folder / CHECKPOINT_NAME
    if not source.exists():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of what it then refuses
            record = torch.load(source, map_location="cpu", weights_only=True)
        stored = record.pop("config")
        stored = {**stored, "frozen": stored["optim"]["frozen"]}
        state = TrainState(**record)
    except (
        OSError,
        RuntimeError,
        EOFError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        BadZipFile,
        pickle.UnpicklingError,
    ) as error:
        raise WeightsError(
            f"{source} is damaged or no checkpoint; delete it to start afresh"
        ) from error
    asked = {**asdict(config), "frozen": config.optim.frozen}
    for name in ("recipe", "model", "input_size", "seed", "frozen"):
        if stored.get(name) != asked[name]:
            raise WeightsError(
                f"{source} was made with {name} {stored.get(name)!r}, this run has {asked[name]!r}; "
                "choose another output folder"
            )
    return state
