"""From photographs without masks to an encoder to start from: what the command line and a notebook call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segloop.data.folder import find_images
from segloop.data.image import ImageArray
from segloop.data.transforms import PIXEL_MEAN, PIXEL_STD
from segloop.errors import InputError
from segloop.model.mae import (
    MaskedAutoencoder,
    from_patches,
    mae_config,
    to_patches,
)
from segloop.train.devices import Sharding, start_devices
from segloop.train.distill import split_images
from segloop.train.loop import SCORE_NAME, Progress, Weights
from segloop.train.mae_step import MaeBatch, MaeImages, MaeRunConfig, mae_step, num_visible
from segloop.train.metrics import NOTHING_HELD_OUT, SkippedItems
from segloop.train.pictures import write_picture
from segloop.train.run import conduct, with_origin
from segloop.train.throughput import count_flops, without_weights
from segloop.weights.mae import load_mae, save_mae

_NUM_SHOWN = 6


def run_mae(
    config: MaeRunConfig,
    data: Sequence[str | Path],
    folder: str | Path,
    *,
    start: str | Path | None = None,
    device: str = "cpu",
    sharding: Sharding = "replicate",
    num_validation: int = 32,
    report: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> Path:
    """Pretrain in `folder`, going on from its checkpoint if there is one; returns folder/model.safetensors.

    That is an autoencoder, whose encoder a recipe of the promptable model takes as its start. data: images, folders,
    patterns or tars, without the run's own pictures; one image in 25 is held out, and num_validation of those are looked at.
    start: an autoencoder to begin from. notice: is told what a user should know. Every process that torchrun starts calls
    this. Raises InputError for data or weights
    that do not fit.
    """
    target = Path(folder)
    learned, held_out = split_images(find_images(data, exclude=target).images)
    model = build_autoencoder(config, start)
    config = with_origin(config, (image.name for image in learned), start)
    sizes = model.config
    source = MaeImages(
        learned,
        config.input_size,
        sizes.encoder.patch_size,
        config.seed,
        config.hidden,
        config.least_area,
    )
    devices = start_devices(device, sharding)
    accelerator = devices.accelerator
    shown = held_out[:num_validation]
    if num_validation and not held_out and notice is not None:
        notice(NOTHING_HELD_OUT)
    validation = None
    if shown:
        validation = _Validation(
            model, replace(source, images=shown), target, accelerator.device, config.data.batch_size
        )
    return conduct(
        model,
        mae_step,
        source,
        config,
        target,
        devices,
        save=lambda weights, path: save_mae(sizes, weights, path),
        validate=validation,
        flops=batch_flops(model, config.hidden),
        report=report,
    )


def build_autoencoder(config: MaeRunConfig, start: str | Path | None = None) -> MaskedAutoencoder:
    """The recipe's model, its random part decided by the seed; InputError for start weights that do not fit it."""
    torch.manual_seed(config.seed)
    try:
        wanted = mae_config(config.model, config.input_size)
        model = MaskedAutoencoder(wanted)
    except ValueError as error:
        raise InputError(str(error)) from error
    num_patches = wanted.grid_size**2
    if not 0 < num_visible(num_patches, config.hidden) < num_patches:
        raise InputError(
            f"hiding {config.hidden} of {num_patches} patches leaves none to see, or none to guess"
        )
    if start is None:
        return model
    begun = load_mae(start)
    if begun.state_dict().keys() != model.state_dict().keys() or any(
        value.shape != model.state_dict()[name].shape for name, value in begun.state_dict().items()
    ):
        raise InputError(
            f"{start} is no autoencoder of {config.model} at {config.input_size} pixels"
        )
    model.load_state_dict(begun.state_dict())
    return model


def batch_flops(model: MaskedAutoencoder, hidden: float) -> Callable[[MaeBatch], int]:
    """Floating point operations of a batch, there and back; hidden: share of the patches that the encoder does not see."""
    twin, config = without_weights(model), model.config
    images = torch.empty(1, 3, config.input_size, config.input_size, device="meta")
    num_seen = num_visible(config.grid_size**2, hidden)
    visible = torch.zeros(1, num_seen, dtype=torch.int64, device="meta")
    of_image = count_flops(lambda: twin(images, visible).sum().backward())
    return lambda batch: of_image * batch.num_images


class _Validation:
    """The loss on held-out images, always with the same patches hidden, and a picture of a few of them."""

    def __init__(
        self,
        model: MaskedAutoencoder,
        images: MaeImages,
        folder: Path,
        device: torch.device,
        batch_size: int,
    ) -> None:
        self._model, self._images, self._folder = model, images, folder
        self._device, self._batch_size = device, batch_size
        self._skipped = SkippedItems(folder)

    def __call__(self, weights: Weights, done: int) -> dict[str, float]:
        twin = MaskedAutoencoder(self._model.config)
        twin.load_state_dict(dict(weights))
        twin = twin.to(self._device).eval()
        total, count = 0.0, 0
        read = self._skipped.usable(self._images.item, range(len(self._images.images)))
        with torch.inference_mode():
            while items := [item for _, item in islice(read, self._batch_size)]:
                batch = self._images.collate(items).to(self._device)
                total += float(mae_step(twin, batch, done).loss)
                if not count:
                    write_picture(self._folder, done, draw_reconstructions(twin, batch))
                count += len(items)
        found = {"validation/loss": total / count, SCORE_NAME: -total / count} if count else {}
        return {**found, **self._skipped.as_validation()}


def draw_reconstructions(model: MaskedAutoencoder, batch: MaeBatch) -> ImageArray:
    """Rows of three: the image, what the model saw of it, and what it made of that; seen patches are as they were.

    A patch is predicted less its mean and over its deviation; both are put back from the image, or nothing could be seen.
    """
    size = model.config.encoder.patch_size
    images, visible = batch.images[:_NUM_SHOWN], batch.visible[:_NUM_SHOWN]
    patches = to_patches(images, size)
    mean, deviation = patches.mean(dim=-1, keepdim=True), patches.std(dim=-1, keepdim=True)
    guessed = model(images, visible).float() * deviation + mean
    seen = torch.zeros(patches.shape[:2], dtype=torch.bool, device=patches.device)
    seen = seen.scatter(1, visible, True)[..., None]
    grey = torch.zeros_like(patches)
    columns = (patches, torch.where(seen, patches, grey), torch.where(seen, patches, guessed))
    return np.concatenate([_column(from_patches(one, size)) for one in columns], axis=1)


def _column(images: Tensor) -> ImageArray:
    """Images (B, 3, S, S) as the model sees them, one below another (B * S, S, 3)."""
    pixels = images.permute(0, 2, 3, 1).flatten(0, 1).cpu().numpy() * PIXEL_STD + PIXEL_MEAN
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
