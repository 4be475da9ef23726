"""From a recipe and paths to a trained model file: what the command line and a notebook call."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from segloop.data.loader import Part, SampleStream
from segloop.data.sa1b import SA1BDataset, open_all_sa1b
from segloop.errors import InputError
from segloop.model.compact_encoder import CompactEncoder
from segloop.model.config import ViTConfig, model_config
from segloop.model.sam import Sam
from segloop.train.checkpoint import load_checkpoint
from segloop.train.config import TrainConfig
from segloop.train.loop import Progress, Validate, train
from segloop.train.sam_step import sam_step
from segloop.weights.imagenet import load_imagenet_trunk
from segloop.weights.load import load_sam, save_sam

MODEL_NAME = "model.safetensors"
CONFIG_NAME = "config.json"


def run_recipe(
    config: TrainConfig,
    data: Sequence[str | Path],
    folder: str | Path,
    *,
    start: str | Path | None = None,
    device: str = "cpu",
    validate: Validate | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train in `folder`, going on from its checkpoint if there is one; returns folder/model.safetensors.

    data: tars or folders in SA-1B layout, or folders of such tars. start: weights to begin from; without it the compact
    model begins from ImageNet weights and any other from scratch. Raises InputError for data or weights that do not fit.
    """
    target = Path(folder)
    stream = build_stream(config, open_all_sa1b(data))
    model = build_model(config, start)
    load_checkpoint(
        target, config
    )  # a folder of another run is refused before anything in it changes
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / CONFIG_NAME).write_text(json.dumps(asdict(config), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"cannot write in {target}: {error.strerror}") from error
    step = partial(sam_step, config=config.interaction)
    weights = train(
        model, step, stream, config, target, device=device, validate=validate, report=report
    )
    model.load_state_dict(weights)
    save_sam(model.cpu(), target / MODEL_NAME)
    return target / MODEL_NAME


def build_model(config: TrainConfig, start: str | Path | None) -> Sam:
    """The recipe's model for its input size, with its start weights; the random part is decided by the seed."""
    torch.manual_seed(config.seed)
    wanted = replace(model_config(config.model), input_size=config.input_size)
    if start is None:
        model = Sam(wanted)
        if isinstance(model.image_encoder, CompactEncoder):
            load_imagenet_trunk(model.image_encoder.trunk)
        return model
    is_vit = isinstance(wanted.encoder, ViTConfig)
    model = load_sam(start, input_size=config.input_size if is_vit else None)
    if model.config.encoder != wanted.encoder:
        raise InputError(
            f"{start} is not a {config.model} model; the recipe {config.recipe} trains one"
        )
    model.config = replace(model.config, input_size=config.input_size)
    return model


def build_stream(
    config: TrainConfig, datasets: tuple[SA1BDataset, ...], part: Part = "train"
) -> SampleStream:
    """The recipe's mixture over the datasets at hand; one the mixture does not name counts 1."""
    encoder = model_config(config.model).encoder
    if config.input_size % (4 * encoder.stride):
        raise InputError(
            f"the input size must be a multiple of {4 * encoder.stride}, got {config.input_size}"
        )
    return SampleStream(
        datasets=datasets,
        weights=tuple(config.data.weights.get(dataset.name, 1.0) for dataset in datasets),
        input_size=config.input_size,
        logit_size=4 * config.input_size // encoder.stride,
        max_masks=config.data.max_masks,
        seed=config.seed,
        augmentation=config.data.augmentation,
        repeats=config.data.repeats,
        part=part,
    )
