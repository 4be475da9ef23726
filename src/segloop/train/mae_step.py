"""A training step without labels: guess three quarters of each image's patches from the rest (He et al. 2022, §3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from segloop.data.folder import ImageFile
from segloop.data.image import ImageArray, load_image
from segloop.data.transforms import normalize_and_pad
from segloop.errors import ImageError, InputError
from segloop.geometry.frames import FloatArray
from segloop.model.mae import MaskedAutoencoder, patch_targets, to_patches
from segloop.train.config import RunConfig
from segloop.train.step import StepOutput

_ASPECT = 4 / 3


@dataclass(frozen=True, kw_only=True)
class MaeRunConfig(RunConfig):
    """A run of masked autoencoding; `model` names the row of MODELS whose encoder is pretrained.

    hidden: share of the patches that are not seen. least_area: a crop takes from this share of the image to all of it.
    data.augmentation has no part in it: images are cropped and mirrored as in the official code.
    """

    hidden: float = 0.75
    least_area: float = 0.2


@dataclass(frozen=True, eq=False)
class MaeItem:
    """An image (3, S, S) and its patches' numbers (N,) in the order of a shuffle: the first are seen."""

    name: str
    image: FloatArray
    order: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MaeBatch:
    """images (B, 3, S, S); visible (B, K) and hidden (B, N - K), the numbers of their patches."""

    images: Tensor
    visible: Tensor
    hidden: Tensor
    names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Images: each counts alike."""
        return len(self.images)

    @property
    def num_images(self) -> int:
        """Images."""
        return len(self.images)

    def to(self, device: torch.device) -> MaeBatch:
        """The same on a device."""
        return replace(
            self,
            images=self.images.to(device),
            visible=self.visible.to(device),
            hidden=self.hidden.to(device),
        )


@dataclass(frozen=True)
class MaeImages:
    """Unlabelled images as the loop draws from them, each once in every round through all."""

    images: tuple[ImageFile, ...]
    input_size: int
    patch_size: int
    seed: int
    hidden: float = 0.75
    least_area: float = 0.2

    def item(self, number: int) -> MaeItem:
        """Image of draw `number`, cropped and perhaps mirrored; InputError names one that cannot be read."""
        turn, place = divmod(number, len(self.images))
        order = _order_of_round(self.seed, turn, len(self.images))
        rng = np.random.default_rng((self.seed, turn, place))
        file = self.images[int(order[place])]
        try:
            pixels = load_image(file.read())
        except ImageError as error:
            raise InputError(f"{file.label}: {error}") from error
        crop = random_crop(pixels, self.input_size, self.least_area, rng)
        if rng.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
        num_patches = (self.input_size // self.patch_size) ** 2
        return MaeItem(
            file.name, normalize_and_pad(crop, self.input_size), rng.permutation(num_patches)
        )

    def collate(self, items: Sequence[MaeItem]) -> MaeBatch:
        """Put images side by side."""
        orders = torch.from_numpy(np.stack([item.order for item in items]))
        seen = num_visible(orders.shape[1], self.hidden)
        return MaeBatch(
            images=torch.from_numpy(np.stack([item.image for item in items])),
            visible=orders[:, :seen],
            hidden=orders[:, seen:],
            names=tuple(item.name for item in items),
        )


def num_visible(num_patches: int, hidden: float) -> int:
    """How many of so many patches are seen where this share is hidden."""
    return int(num_patches * (1.0 - hidden))


# To shuffle a million images takes longer than to read one, and a batch may lie in two rounds.
@lru_cache(maxsize=2)
def _order_of_round(seed: int, turn: int, count: int) -> npt.NDArray[np.int64]:
    """The images' places in a round through all."""
    return np.random.default_rng((seed, turn)).permutation(count)


def mae_step(model: MaskedAutoencoder, batch: MaeBatch, number: int) -> StepOutput:
    """Squared error over the numbers of hidden patches, each patch normalised by itself; the sum over images of its mean."""
    del number  # every choice is the item's
    predictions = model(batch.images, batch.visible).float()
    targets = patch_targets(to_patches(batch.images, model.config.encoder.patch_size).float())
    squared = ((predictions - targets) ** 2).mean(dim=-1)
    return StepOutput(squared.gather(1, batch.hidden).mean(dim=1).sum())


def random_crop(
    image: ImageArray, side: int, least_area: float, rng: np.random.Generator
) -> ImageArray:
    """A crop of least_area of the image to all of it, 3:4 to 4:3, at side x side, bicubic with antialiasing.

    An image so long that no such crop fits it in ten tries gives its middle.
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * float(rng.uniform(least_area, 1.0))
        aspect = math.exp(float(rng.uniform(-math.log(_ASPECT), math.log(_ASPECT))))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            x, y = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
            break
    else:
        wide, high = min(width, round(height * _ASPECT)), min(height, round(width * _ASPECT))
        x, y = (width - wide) // 2, (height - high) // 2
    cut = Image.fromarray(image[y : y + high, x : x + wide])
    return np.asarray(cut.resize((side, side), Image.Resampling.BICUBIC))
