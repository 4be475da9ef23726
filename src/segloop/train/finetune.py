"""Fine-tuning: from start weights and a user's own masks to a model of the same kind.

Which weights learn, and how, is the recipe's (segloop.train.recipes.finetune); the steps and the loop are those of any run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from segloop.data.annotated import AnnotatedSet
from segloop.data.loader import SampleStream
from segloop.errors import InputError
from segloop.model.sam import Sam
from segloop.train.checkpoint import find_checkpoints
from segloop.train.config import TrainConfig
from segloop.train.devices import start_devices
from segloop.train.items import batches
from segloop.train.loop import Progress
from segloop.train.lora import LoraConfig, add_lora, base_names, merge_lora
from segloop.train.optim import build_optimizer
from segloop.train.run import (
    CONFIG_NAME,
    ValidateSam,
    conduct_sam,
    names_in,
    prepare_model,
    step_flops,
    with_origin,
)
from segloop.train.sam_step import sam_items, sam_step
from segloop.weights.load import weights_digest

_TIMED_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig(TrainConfig):
    """A run that begins from a trained model. lora: which low-rank updates learn in place of the weights, None for none.

    strength: of the way from the start weights to the trained ones, how much the delivered model goes; a part of it keeps
    most of what was gained and far more of what was known (Wortsman et al. 2021).
    """

    lora: LoraConfig | None = None
    strength: float = 1.0


def finetune(
    model: Sam,
    dataset: AnnotatedSet,
    config: FineTuneConfig,
    folder: str | Path,
    *,
    device: str = "cpu",
    validate: ValidateSam | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train in `folder`, going on from its checkpoint if there is one; returns folder/model.safetensors.

    model: the start weights; they are not changed. dataset: all of it is trained on. What is written is an ordinary model
    of the same configuration, updates merged. Raises InputError for data or a checkpoint that does not fit.
    """
    own, config = adapt(model, config)
    config = replace(with_origin(config, names_in([dataset]), None), start=weights_digest(model))
    return conduct_sam(
        own,
        partial(sam_step, config=config.interaction, seed=config.seed),
        sam_items(stream_of(model, dataset, config)),
        config,
        Path(folder),
        start_devices(device),
        deliver=lambda weights: part_of_the_way(model, merge_lora(weights), config.strength),
        validate=validate,
        flops=step_flops(own, config),
        report=report,
    )


def adapt(model: Sam, config: FineTuneConfig) -> tuple[Sam, FineTuneConfig]:
    """A copy of the start model made ready to learn what the configuration says, and the configuration completed for it."""
    torch.manual_seed(config.seed)
    own = deepcopy(model)
    if config.lora is not None:
        add_lora(own, config.lora)
        config = replace(config, optim=replace(config.optim, frozen=base_names(own)))
    return prepare_model(own, config), config


def part_of_the_way(start: Sam, weights: Mapping[str, Tensor], strength: float) -> Sam:
    """The model between the start weights (strength 0) and these (1), ready to predict."""
    between = {
        name: torch.lerp(value, weights[name].to(value), strength)
        for name, value in start.state_dict().items()
    }
    with torch.device("meta"):
        model = Sam(start.config)
    model.load_state_dict(between, assign=True)
    return model.eval()


def stream_of(model: Sam, dataset: AnnotatedSet, config: FineTuneConfig) -> SampleStream:
    """The training items of a dataset, prepared for the model."""
    return SampleStream(
        datasets=(dataset,),
        weights=(1.0,),
        input_size=model.config.input_size,
        logit_size=model.config.logit_size,
        max_masks=config.data.max_masks,
        seed=config.seed,
        augmentation=config.data.augmentation,
        repeats=config.data.repeats,
        part="all",
    )


def steps_in(
    minutes: float,
    model: Sam,
    dataset: AnnotatedSet,
    config: FineTuneConfig,
    folder: str | Path,
    *,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """How many steps fill these minutes, by timing a few that are then forgotten; a run in the folder keeps its number."""
    if not minutes > 0:
        raise InputError(f"minutes to train must be more than 0, got {minutes:g}")
    if find_checkpoints(Path(folder)):
        return _stored_steps(Path(folder))
    own, config = adapt(model, replace(config, num_steps=_TIMED_STEPS + 1))
    own = own.to(device).train()
    optimizer = build_optimizer(own, config.optim)
    source = sam_items(stream_of(model, dataset, config))
    steps = islice(batches(source, config), _TIMED_STEPS + 1)
    ends = []
    for number, parts in enumerate(steps):
        for part in parts:
            output = sam_step(own, part.to(torch.device(device)), number, config=config.interaction)
            output.loss.backward()
        optimizer.step()
        ends.append(clock())
    # The first step warms up.
    seconds = (ends[-1] - ends[0]) / _TIMED_STEPS
    return max(1, int(60.0 * minutes / max(seconds, 1e-9)))


def _stored_steps(folder: Path) -> int:
    try:
        return int(json.loads((folder / CONFIG_NAME).read_text())["num_steps"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / CONFIG_NAME} is damaged; choose another output folder"
        ) from error
