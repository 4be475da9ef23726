"""Distillation of an encoder: its features are to be the embedding that a teacher gives for the same image.

No masks are needed, any images will do. Where the widths differ, a learned 1x1 projection stands between the two, and where
the grids differ, a resize; both belong to the run and not to the delivered model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segloop.data.folder import ImageFile
from segloop.data.image import ImageArray, load_image
from segloop.data.transforms import prepare_input
from segloop.errors import ImageError, InputError
from segloop.geometry.frames import FloatArray, Frame
from segloop.model.config import ModelConfig, model_config
from segloop.predict.cache import image_id
from segloop.train.config import RunConfig
from segloop.train.step import Mean, Step, StepOutput
from segloop.train.teacher import EmbeddingFiles, HalfArray, Precision, Teacher


@dataclass(frozen=True, kw_only=True)
class DistillConfig(RunConfig):
    """A run that teaches the encoder of `model` at `input_size` what a teacher's encoder knows.

    decoder: "own" delivers the model's own, untrained, which learns masks in a run to follow; "teacher" delivers the
    teacher's prompt encoder and decoder as they are, for embeddings of the teacher's width. cosine_weight: weight of one
    minus the cosine between student and teacher at each place, beside the squared error. teacher: identity of the teacher's
    weights, filled in when the run starts. teacher_precision: what the teacher computes in.
    """

    decoder: Literal["own", "teacher"] = "own"
    cosine_weight: float = 0.0
    teacher: str = ""
    teacher_precision: Precision = "float32"


@dataclass(frozen=True, eq=False)
class DistillItem:
    """An image as the student sees it (3, S, S), with its embedding or, where none is kept yet, as the teacher sees it.

    key: under which the embedding is kept.
    """

    name: str
    key: str
    image: FloatArray
    target: HalfArray | None
    teacher_image: FloatArray | None


@dataclass(frozen=True, eq=False)
class DistillBatch:
    """images (B, 3, S, S); for each image a target (C, G, G) float16, or None and a teacher image (3, T, T)."""

    names: tuple[str, ...]
    keys: tuple[str, ...]
    images: Tensor
    targets: tuple[Tensor | None, ...]
    teacher_images: tuple[Tensor | None, ...]

    @property
    def count(self) -> int:
        """Images, over which the loss is a sum."""
        return len(self.images)

    @property
    def num_images(self) -> int:
        """Images."""
        return len(self.images)

    def to(self, device: torch.device) -> DistillBatch:
        """The same with its tensors on a device."""
        return replace(
            self,
            images=self.images.to(device),
            targets=tuple(None if one is None else one.to(device) for one in self.targets),
            teacher_images=tuple(
                None if one is None else one.to(device) for one in self.teacher_images
            ),
        )


@dataclass(frozen=True)
class DistillImages:
    """The images of a run as the loop draws from them, each as often as the others.

    flip: chance of a mirror image, which has an embedding of its own. files: where embeddings are kept, None for nowhere.
    """

    images: tuple[ImageFile, ...]
    input_size: int
    teacher_size: int
    seed: int
    flip: float = 0.0
    files: EmbeddingFiles | None = None

    def item(self, number: int) -> DistillItem:
        """Image of draw `number`; InputError names one that cannot be read."""
        rng = np.random.default_rng((self.seed, number))
        return self.prepare(int(rng.integers(len(self.images))), flips=rng.random() < self.flip)

    def prepare(self, index: int, *, flips: bool = False) -> DistillItem:
        """Image `index` for student and teacher."""
        file = self.images[index]
        try:
            content = file.read()
            pixels = load_image(content)
        except ImageError as error:
            raise InputError(f"{file.label}: {error}") from error
        if flips:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        key = image_id(content) + ("-flipped" if flips else "")
        target = None if self.files is None else self.files.read(key)
        view = partial(_view, pixels)
        return DistillItem(
            file.name,
            key,
            view(self.input_size),
            target,
            view(self.teacher_size) if target is None else None,
        )

    def collate(self, items: Sequence[DistillItem]) -> DistillBatch:
        """Put images side by side."""
        return DistillBatch(
            names=tuple(item.name for item in items),
            keys=tuple(item.key for item in items),
            images=torch.from_numpy(np.stack([item.image for item in items])),
            targets=tuple(_tensor(item.target) for item in items),
            teacher_images=tuple(_tensor(item.teacher_image) for item in items),
        )


class Student(nn.Module):
    """What is trained: an encoder, and what brings its features to the shape of the teacher's.

    shape: the student's features (C, G, G); target_shape: the teacher's.
    """

    def __init__(
        self,
        encoder: nn.Module,
        shape: tuple[int, int, int],
        target_shape: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        width, grid = shape[0], shape[1]
        self.target_grid = target_shape[1]
        self.shrinks = self.target_grid < grid
        same = width == target_shape[0]
        self.projection = nn.Identity() if same else nn.Conv2d(width, target_shape[0], 1)

    def forward(self, images: Tensor) -> Tensor:
        """What the teacher would give, (B, C, G, G) float32, for inputs (B, 3, S, S)."""
        features = self.projection(self.encoder(images)).float()
        if features.shape[-1] == self.target_grid:
            return features
        size = (self.target_grid, self.target_grid)
        return F.interpolate(
            features, size, mode="bilinear", align_corners=False, antialias=self.shrinks
        )


def distill_step(
    model: Student,
    batch: DistillBatch,
    _number: int,
    *,
    teacher: Teacher,
    files: EmbeddingFiles | None,
    cosine_weight: float,
) -> StepOutput:
    """The distance of each image's features from its teacher's embedding, summed over images."""
    target = targets(batch, teacher, files)
    found = model(batch.images)
    error = (found - target).square().mean(dim=(1, 2, 3))
    apart = (1.0 - F.cosine_similarity(found, target, dim=1)).mean(dim=(1, 2))
    energy = target.square().mean(dim=(1, 2, 3))
    count = batch.count
    return StepOutput(
        (error + cosine_weight * apart).sum(),
        {
            "loss/squared": Mean(error.detach().sum(), count),
            "loss/cosine": Mean(apart.detach().sum(), count),
            # Squared error as a share of the teacher's squares: 1 for a student that says nothing.
            "relative_error": Mean(error.detach().sum(), energy.sum()),
        },
    )


def targets(batch: DistillBatch, teacher: Teacher, files: EmbeddingFiles | None) -> Tensor:
    """The teacher's embeddings (B, C, G, G) float32 of a batch; those computed now are kept in files.

    Raises InputError for a teacher whose numbers are not finite, and where the disk refuses.
    """
    found = []
    for name, key, kept, image in zip(
        batch.names, batch.keys, batch.targets, batch.teacher_images, strict=True
    ):
        target = kept
        if target is None:
            assert image is not None
            target = teacher.embed(image)
            if not target.isfinite().all():
                raise InputError(
                    f"{name}: the teacher's embedding is not finite; its weights are broken"
                )
            if files is not None:
                files.write(key, target.cpu().numpy())
        found.append(target.float())
    return torch.stack(found)


def make_step(
    config: DistillConfig, teacher: Teacher, files: EmbeddingFiles | None
) -> Step[Student, DistillBatch]:
    """The step for the loop."""
    return partial(distill_step, teacher=teacher, files=files, cosine_weight=config.cosine_weight)


def student_config(config: DistillConfig, teacher: ModelConfig) -> ModelConfig:
    """The sizes of the model that a run delivers; InputError where the input does not fill a grid."""
    own = replace(model_config(config.model), input_size=config.input_size)
    if config.input_size % (4 * own.encoder.stride):
        raise InputError(
            f"the input size must be a multiple of {4 * own.encoder.stride}, got {config.input_size}"
        )
    if config.decoder == "own":
        return own
    return replace(teacher, encoder=own.encoder, input_size=own.input_size)


def _view(pixels: ImageArray, size: int) -> FloatArray:
    height, width = pixels.shape[:2]
    return prepare_input(pixels, Frame((height, width), size, size))


def _tensor(array: FloatArray | HalfArray | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)
