"""A training step for words without words: the first prompt is a CLIP vector of the object's own picture (paper §7.5, D.5).

CLIP puts pictures and texts into one space, so the model then takes the vectors of texts it never saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segloop.data.transforms import PIXEL_MEAN, PIXEL_STD
from segloop.geometry.frames import BoolArray
from segloop.model.sam import Sam
from segloop.train.config import TrainConfig
from segloop.train.conversation import MASK, Conversation, schedule
from segloop.train.sam_step import Batch, converse
from segloop.train.step import StepOutput


@dataclass(frozen=True, kw_only=True)
class TextConfig(TrainConfig):
    """A run of a model that takes text vectors.

    min_side: objects of a smaller area than this squared, in input pixels, are left out. largest_crop: how many times the
    object's box the picture shown to CLIP may be, at most. blank: chance that everything around the object is made black.
    """

    min_side: int = 100
    largest_crop: float = 2.0
    blank: float = 0.5


class ImageVectors(Protocol):
    """What turns pictures of objects into vectors; see segloop.text.clip_images."""

    @property
    def side(self) -> int:
        """Side of the pictures, in pixels."""

    def vectors(self, crops: Tensor, masks: Tensor) -> Tensor:
        """Vectors (N, C) for crops (N, 3, side, side) of colours in 0..1 and masks (N, side, side)."""


def text_step(
    model: Sam, batch: Batch, number: int, *, config: TextConfig, clip: ImageVectors
) -> StepOutput:
    """As sam_step, but that every conversation begins with a vector and nothing else, which stays in all rounds.

    A vector is no ambiguous prompt: it is answered with the single output, as in prediction.
    """
    rngs = [np.random.default_rng(int(seed)) for seed in batch.seeds]
    crops, masks = object_pictures(batch, rngs, clip.side, config)
    text = clip.vectors(crops, masks)
    count = len(batch.truths)
    talk = Conversation(
        coords=np.zeros((count, 0, 2), dtype=np.float32),
        labels=np.zeros((count, 0), dtype=np.int64),
        kinds=np.full(count, MASK, dtype=np.int64),
        mask_logits=None,
        has_mask=np.zeros(count, dtype=np.float32),
    )
    turns = schedule(config.interaction, np.random.default_rng((config.seed, number)))
    return converse(model, batch, talk, rngs, turns, config.interaction, text)


def object_pictures(
    batch: Batch, rngs: Sequence[np.random.Generator], side: int, config: TextConfig
) -> tuple[Tensor, Tensor]:
    """What CLIP is to see of each object: crops (N, 3, side, side), colours in 0..1, and masks (N, side, side).

    A square about the object, one to config.largest_crop times as large as its box. Beyond the image it is black, on which
    the paper is silent, as is all around the object where that is blanked.
    """
    device, scale = batch.images.device, batch.scale
    mean, std = (
        torch.tensor(values, device=device)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD)
    )
    crops, masks = [], []
    for truth, image, rng in zip(batch.truths, batch.image_index.tolist(), rngs, strict=True):
        window = _square(truth, float(rng.uniform(1.0, config.largest_crop)))
        mask = _cut(torch.from_numpy(truth).to(device, torch.float32)[None], window, 1.0, side)
        prepared = batch.images[image].float()
        # Padding is 0, which no pixel of an image is: the means are no whole numbers.
        picture = (prepared * std + mean).clamp(0, 255) / 255 * prepared.any(dim=0)
        crop = _cut(picture, window, scale, side)
        if rng.random() < config.blank:
            crop = crop * (mask > 0.5)
        crops.append(crop)
        masks.append(mask[0] > 0.5)
    return torch.stack(crops), torch.stack(masks)


def _square(truth: BoolArray, growth: float) -> tuple[float, float, float]:
    """Centre x, centre y and side, in pixels of the logit frame."""
    ys, xs = np.nonzero(truth)
    left, right, top, bottom = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
    return (
        float(left + right) / 2,
        float(top + bottom) / 2,
        growth * float(max(right - left, bottom - top)),
    )


def _cut(picture: Tensor, window: tuple[float, float, float], scale: float, side: int) -> Tensor:
    """The window of (C, H, W), given in the logit frame, at side x side; zero outside the picture."""
    x, y, length = (scale * value for value in window)
    height, width = picture.shape[-2:]
    steps = (torch.arange(side, device=picture.device) + 0.5) / side - 0.5
    xs = (x + steps * length) / width * 2 - 1
    ys = (y + steps * length) / height * 2 - 1
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1)
    return F.grid_sample(picture[None], grid[None], align_corners=False)[0]
