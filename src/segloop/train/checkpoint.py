"""The state of a run on disk: written whole or not at all, the last few kept, and refused where it does not belong.

A checkpoint is a folder: weights as safetensors, which other programs read, and the rest in state.pt.
"""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from segloop.errors import WeightsError
from segloop.train.config import RunConfig
from segloop.weights.load import write_safetensors

CHECKPOINTS_NAME = "checkpoints"
MODEL_FILE, MEAN_FILE, STATE_FILE = "model.safetensors", "mean.safetensors", "state.pt"
# What makes another run of it, or lets it see other items than it would have; more steps or another rate do not.
_COMPARED = ("recipe", "model", "input_size", "seed", "frozen", "teacher", "accumulate")
_COMPARED_DATA = ("batch_size", "max_masks", "repeats", "weights", "weighs_images")
# Those that are digests, which tell a reader nothing.
_DIGESTS = {"images": "images", "start": "start weights"}


@dataclass(frozen=True, eq=False)
class TrainState:
    """All that a run needs to go on as if it had not stopped.

    step counts the finished ones. mean: empty where none is kept. random_states: a row for each process. best_score: the
    best validation so far.
    """

    step: int
    model: dict[str, Tensor]
    mean: dict[str, Tensor]
    optimizer: dict[str, Any]
    random_states: Tensor
    best_score: float | None = None


def save_checkpoint(folder: Path, state: TrainState, config: RunConfig) -> Path:
    """Write folder/checkpoints/STEP and delete the oldest beyond config.keep_checkpoints.

    Raises WeightsError where the disk refuses; the checkpoints before are then as they were, and a full disk is named.
    """
    target = folder / CHECKPOINTS_NAME / f"{state.step:08d}"
    partial = target.with_suffix(".partial")
    rest = {
        "step": state.step,
        "optimizer": state.optimizer,
        "random_states": state.random_states,
        "best_score": state.best_score,
        "config": _plain(config),
    }
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_safetensors(_contiguous(state.model), partial / MODEL_FILE, {})
        if state.mean:
            write_safetensors(_contiguous(state.mean), partial / MEAN_FILE, {})
        torch.save(rest, partial / STATE_FILE)
        for path in partial.iterdir():
            _sync(path)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
    except (OSError, RuntimeError, WeightsError) as error:
        # Looked at before the unfinished part is gone: PyTorch itself says no more than "iostream error".
        is_full = _free_bytes(partial) < sum(value.nbytes for value in state.model.values())
        shutil.rmtree(partial, ignore_errors=True)
        reason = (
            "no space is left on the disk, free some" if is_full else str(error).splitlines()[0]
        )
        kept = "; the checkpoint before it is kept" if find_checkpoints(folder) else ""
        raise WeightsError(f"cannot write {target}: {reason}{kept}") from error
    for old in find_checkpoints(folder)[: -max(1, config.keep_checkpoints)]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def find_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; unfinished ones are not among them."""
    try:
        entries = list((folder / CHECKPOINTS_NAME).iterdir())
    except OSError:
        return []
    return sorted(entry for entry in entries if entry.name.isdigit() and entry.is_dir())


def load_checkpoint(folder: Path, config: RunConfig, num_processes: int = 1) -> TrainState | None:
    """Read the newest state of a run of this recipe, None where there is none.

    Raises WeightsError for a damaged checkpoint, or one of another recipe, model, input size, seed, teacher, set of frozen
    parameters, batch, number of masks, conversation or number of processes, or of other images, weights of the sets,
    augmentation or start weights.
    """
    found = find_checkpoints(folder)
    if not found:
        return None
    source = found[-1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of what it then refuses
            rest = torch.load(source / STATE_FILE, map_location="cpu", weights_only=True)
        stored = rest.pop("config")
        mean = load_file(source / MEAN_FILE) if stored["optim"]["ema"] else {}
        state = TrainState(model=load_file(source / MODEL_FILE), mean=mean, **rest)
        stored_processes = len(state.random_states)
        before, now = _compared(stored), _compared(_plain(config))
        # A setting that is newer than the checkpoint tells nothing.
        differing = [name for name, value in before.items() if now.get(name, value) != value]
    except (
        OSError,
        RuntimeError,
        EOFError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        BadZipFile,
        SafetensorError,
        pickle.UnpicklingError,
    ) as error:
        raise WeightsError(
            f"{source} is damaged or no checkpoint; delete it to go on from the one before it"
        ) from error
    if stored_processes != num_processes:
        raise WeightsError(
            f"{source} was made by {stored_processes} processes, this run has {num_processes}; "
            f"start it with torchrun --nproc-per-node so that there are {stored_processes}"
        )
    for name in differing:
        made_with = (
            f"other {_DIGESTS[name]} than this run's"
            if name in _DIGESTS
            else f"{name} {before[name]!r}, this run has {now[name]!r}"
        )
        raise WeightsError(f"{source} was made with {made_with}; choose another output folder")
    return state


def _plain(config: RunConfig) -> dict[str, Any]:
    return {"teacher": None, **asdict(config), "frozen": config.optim.frozen}


def _compared(plain: dict[str, Any]) -> dict[str, Any]:
    """The settings that a run may not change on its way; an older checkpoint lacks some."""
    data = plain["data"]
    return {
        **{name: plain[name] for name in _COMPARED},
        **{name: plain[name] for name in _DIGESTS if name in plain},
        **{name: data[name] for name in _COMPARED_DATA if name in data},
        **data.get("augmentation", {}),
        **plain.get("interaction", {}),
    }


def _contiguous(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    # Copies: safetensors refuses tensors that share memory, as the mean of a frozen part may.
    return {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }


def _free_bytes(folder: Path) -> float:
    """What the disk of a folder has left, endless where it does not say."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return float("inf")


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
