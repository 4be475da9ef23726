"""From a trained model and a CLIP to a model that takes text vectors: what the command line and a notebook call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from segloop.data.sa1b import open_all_sa1b
from segloop.model.config import with_text
from segloop.model.sam import Sam
from segloop.text.clip_images import ClipImageVectors
from segloop.train.devices import Sharding, start_devices
from segloop.train.loop import Progress
from segloop.train.run import (
    ValidateSam,
    build_model,
    build_stream,
    conduct_sam,
    names_in,
    prepare_model,
    step_flops,
    with_origin,
    with_weights,
)
from segloop.train.sam_step import sam_items
from segloop.train.text_step import TextConfig, text_step


def run_text(
    config: TextConfig,
    clip: str | Path,
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

    clip: name at Hugging Face or folder of a whole CLIP; the texts of later prompts must go through the same one. The
    rest as segloop.train.run.run_recipe. Raises InputError for data, weights or a CLIP that do not fit.
    """
    devices = start_devices(device, sharding)
    source = ClipImageVectors(str(clip), str(devices.accelerator.device))
    model = prepare_model(add_text(build_model(config, start), source.width, config.seed), config)
    datasets = open_all_sa1b(data)
    config = with_origin(config, names_in(datasets), start)
    scale = model.config.encoder.stride / 4
    min_pixels = round((config.min_side / scale) ** 2)
    return conduct_sam(
        model,
        partial(text_step, config=config, clip=source),
        sam_items(build_stream(config, datasets, min_pixels=min_pixels)),
        config,
        Path(folder),
        devices,
        deliver=lambda weights: with_weights(model, weights),
        validate=validate,
        flops=step_flops(model, config),
        report=report,
    )


def add_text(model: Sam, text_width: int, seed: int = 0) -> Sam:
    """The same model with a projection for text vectors of text_width numbers, drawn by the seed; itself if it has one."""
    if model.config.text_width == text_width:
        return model
    torch.manual_seed(seed)
    grown = Sam(with_text(model.config, text_width))
    own = grown.state_dict()
    new = {name: value for name, value in own.items() if "text_projection" in name}
    grown.load_state_dict({**model.state_dict(), **new})
    return grown
