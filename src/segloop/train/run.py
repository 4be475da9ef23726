"""From a recipe and paths to a trained model file: what the command line and a notebook call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from segloop.data.loader import Part, SampleStream
from segloop.data.sa1b import SA1BDataset, open_all_sa1b
from segloop.data.sample import SampleSet
from segloop.errors import InputError
from segloop.model.compact_encoder import CompactEncoder
from segloop.model.config import ViTConfig, model_config
from segloop.model.image_encoder import ImageEncoder
from segloop.model.sam import Sam
from segloop.train.checkpoint import load_checkpoint
from segloop.train.config import DataConfig, RunConfig, TrainConfig
from segloop.train.devices import Devices, Sharding, start_devices
from segloop.train.items import ItemSource
from segloop.train.loop import Progress, Save, Validate, Weights, train
from segloop.train.optim import freeze
from segloop.train.sam_step import Batch, sam_items, sam_step
from segloop.train.step import Step
from segloop.train.throughput import count_sam_flops
from segloop.weights.catalog import file_identity
from segloop.weights.imagenet import load_imagenet_trunk
from segloop.weights.load import load_sam, save_sam
from segloop.weights.mae import is_mae, load_mae_encoder

RunConfigT = TypeVar("RunConfigT", bound=RunConfig)

MODEL_NAME = "model.safetensors"
CONFIG_NAME = "config.json"

# What measures a model after so many steps.
ValidateSam = Callable[[Sam, int], Mapping[str, float]]


def run_recipe(
    config: TrainConfig,
    data: Sequence[str | Path],
    folder: str | Path,
    *,
    start: str | Path | None = None,
    device: str = "cpu",
    sharding: Sharding = "replicate",
    validate: ValidateSam | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train in `folder`, going on from its checkpoint if there is one; returns folder/model.safetensors.

    data: tars or folders in SA-1B layout, or folders of such tars. start: weights to begin from, of a model of this size or
    of a masked autoencoder, whose encoder is taken; without it the compact
    model begins from ImageNet weights and any other from scratch. device, sharding: see start_devices. Every process
    that torchrun starts calls this. Raises InputError for data or weights that do not fit.
    """
    datasets = open_all_sa1b(data)
    stream = build_stream(config, datasets)
    model = build_model(config, start)
    config = with_origin(config, names_in(datasets), start)
    return conduct_sam(
        model,
        partial(sam_step, config=config.interaction, seed=config.seed),
        sam_items(stream),
        config,
        Path(folder),
        start_devices(device, sharding),
        deliver=lambda weights: with_weights(model, weights),
        validate=validate,
        flops=step_flops(model, config),
        report=report,
    )


def step_flops(model: Sam, config: TrainConfig) -> Callable[[Batch], int]:
    """Floating point operations of a batch, there and back; what does not learn takes fewer."""
    freeze(model, config.optim)
    counted = count_sam_flops(model)
    num_rounds = config.interaction.num_steps
    return lambda batch: counted.of_step(batch.num_images, batch.count, num_rounds)


def conduct_sam(
    model: nn.Module,
    step: Step[Any, Any],
    source: ItemSource[Any, Any],
    config: RunConfig,
    folder: Path,
    devices: Devices,
    *,
    deliver: Callable[[Weights], Sam],
    validate: ValidateSam | None = None,
    flops: Callable[[Any], int] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """conduct() for what ends in a promptable model; deliver makes it of trained weights."""
    return conduct(
        model,
        step,
        source,
        config,
        folder,
        devices,
        save=lambda weights, path: save_sam(deliver(weights), path),
        validate=validate and (lambda weights, done: validate(deliver(weights), done)),
        flops=flops,
        report=report,
    )


def conduct(
    model: nn.Module,
    step: Step[Any, Any],
    source: ItemSource[Any, Any],
    config: RunConfig,
    folder: Path,
    devices: Devices,
    *,
    save: Save,
    validate: Validate | None = None,
    flops: Callable[[Any], int] | None = None,
    report: Callable[[Progress], None] | None = None,
) -> Path:
    """Train in `folder` and write folder/model.safetensors by save; every kind of run goes through here.

    The folder of another run is refused before anything in it changes. Arguments and errors otherwise as train().
    """
    accelerator = devices.accelerator
    config = share_batch(config, accelerator.num_processes)
    load_checkpoint(folder, config, accelerator.num_processes)
    if accelerator.is_main_process:
        write_config(config, folder)
    weights = train(
        model,
        step,
        source,
        config,
        folder,
        devices=devices,
        validate=validate,
        save=save,
        flops=flops,
        report=report,
    )
    if accelerator.is_main_process:
        save(weights, folder / MODEL_NAME)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return folder / MODEL_NAME


def with_origin(config: RunConfigT, names: Iterable[str], start: str | Path | None) -> RunConfigT:
    """The configuration that tells images of these names, in this order, and start weights from others."""
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogatepass"))
    begun = None if start is None else file_identity(start)
    return replace(config, images=digest.hexdigest()[:16], start=begun)


def names_in(datasets: Iterable[SampleSet]) -> Iterator[str]:
    """Names of the sets and of their samples."""
    for dataset in datasets:
        yield dataset.name
        yield from dataset.sample_names


def share_batch(config: RunConfigT, num_processes: int) -> RunConfigT:
    """Accumulate so many batches that an update has config.global_batch images; InputError where that does not divide."""
    if config.global_batch is None:
        return config
    at_once = config.data.batch_size * num_processes
    if config.global_batch % at_once:
        raise InputError(
            f"{config.global_batch} images an update cannot be shared by {num_processes} processes "
            f"of {config.data.batch_size}; "
            "change the number of processes, --batch-size or --global-batch"
        )
    return replace(config, accumulate=config.global_batch // at_once)


def write_config(config: RunConfig, folder: Path) -> None:
    """Leave the run's settings in folder/config.json; InputError where the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_NAME).write_text(json.dumps(asdict(config), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error


def with_weights(model: Sam, weights: Weights) -> Sam:
    """Another model of the same configuration that holds these weights, ready to predict."""
    with torch.device("meta"):
        twin = Sam(model.config)
    twin.load_state_dict(dict(weights), assign=True)
    return twin.eval()


def build_model(config: TrainConfig, start: str | Path | None) -> Sam:
    """The recipe's model for its input size, with its start weights; the random part is decided by the seed."""
    torch.manual_seed(config.seed)
    wanted = replace(model_config(config.model), input_size=config.input_size)
    if start is None or is_mae(start):
        model = Sam(wanted)
        if start is not None:
            load_mae_encoder(start, model)
        elif isinstance(model.image_encoder, CompactEncoder):
            load_imagenet_trunk(model.image_encoder.trunk)
        return prepare_model(model, config)
    is_vit = isinstance(wanted.encoder, ViTConfig)
    model = load_sam(start, input_size=config.input_size if is_vit else None)
    if model.config.encoder != wanted.encoder:
        raise InputError(
            f"{start} is not a {config.model} model; the recipe {config.recipe} trains one"
        )
    model.config = replace(model.config, input_size=config.input_size)
    return prepare_model(model, config)


def prepare_model(model: Sam, config: TrainConfig) -> Sam:
    """Set what holds in training alone: skipped blocks, dropout, recomputed activations, compilation."""
    encoder = model.image_encoder
    if isinstance(encoder, ImageEncoder):
        encoder.set_drop_path(config.drop_path)
        encoder.checkpointing = config.recompute
    model.mask_decoder.set_dropout(config.dropout)
    if config.compiles:
        encoder.compile()
    return model


def build_stream(
    config: TrainConfig,
    datasets: tuple[SA1BDataset, ...],
    part: Part = "train",
    min_pixels: int = 12,
) -> SampleStream:
    """The recipe's mixture over the datasets at hand; one the mixture does not name counts 1."""
    encoder = model_config(config.model).encoder
    if config.input_size % (4 * encoder.stride):
        raise InputError(
            f"the input size must be a multiple of {4 * encoder.stride}, got {config.input_size}"
        )
    return SampleStream(
        datasets=datasets,
        weights=tuple(_weight(config.data, dataset) for dataset in datasets),
        input_size=config.input_size,
        logit_size=4 * config.input_size // encoder.stride,
        max_masks=config.data.max_masks,
        seed=config.seed,
        augmentation=config.data.augmentation,
        repeats=config.data.repeats,
        min_pixels=min_pixels,
        part=part,
    )


def _weight(config: DataConfig, dataset: SA1BDataset) -> float:
    names = (dataset.name, dataset.parent)
    found = (weight for pattern, weight in config.weights.items() if fits(names, pattern))
    return next(found, 1.0) * (len(dataset) if config.weighs_images else 1)


def fits(names: tuple[str, str], pattern: str) -> bool:
    """Whether a weight's name or pattern means a set of this name or of a folder of this name; see name_set."""
    return any(fnmatchcase(name, pattern) for name in names)
