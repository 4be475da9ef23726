"""From a teacher and any images to a smaller model's file: what the command line and a notebook call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from segloop.data.folder import ImageFile, find_images
from segloop.data.loader import is_held_out
from segloop.errors import InputError
from segloop.model.compact_encoder import CompactEncoder
from segloop.model.config import ViTConfig
from segloop.model.image_encoder import ImageEncoder
from segloop.model.sam import Sam
from segloop.train.config import DataConfig
from segloop.train.devices import Sharding, start_devices
from segloop.train.distill_step import (
    DistillBatch,
    DistillConfig,
    DistillImages,
    DistillItem,
    Student,
    distill_step,
    make_step,
    student_config,
    targets,
)
from segloop.train.loop import SCORE_NAME, Progress, Weights
from segloop.train.metrics import NOTHING_HELD_OUT, SkippedItems
from segloop.train.run import conduct, with_origin, with_weights
from segloop.train.teacher import EmbeddingFiles, Teacher, load_teacher
from segloop.train.throughput import count_sam_flops
from segloop.weights.imagenet import load_imagenet_trunk
from segloop.weights.load import load_sam, save_sam


def run_distill(
    config: DistillConfig,
    teacher: str | Path,
    data: Sequence[str | Path],
    folder: str | Path,
    *,
    start: str | Path | None = None,
    keep: str | Path | None = None,
    device: str = "cpu",
    sharding: Sharding = "replicate",
    num_validation: int = 32,
    report: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> Path:
    """Train in `folder`, going on from its checkpoint if there is one; returns folder/model.safetensors.

    teacher: a weights file, or default, vit_b, vit_l, vit_h. data: images, folders, patterns or tars; one image in 25 is
    held out. start: weights whose encoder to begin from; without it a compact encoder begins from ImageNet weights. keep: a
    folder for the teacher's embeddings, two megabytes an image for the official models, so that each is computed once for
    all runs. num_validation: held-out images that each validation looks at, 0 for none. notice: is told what a user should
    know. Every process that torchrun starts
    calls this. Raises InputError for data or weights that do not fit.
    """
    target = Path(folder)
    images = find_images(data).images
    loaded = load_teacher(teacher, config.teacher_precision)
    config = replace(config, teacher=loaded.identity)
    model = build_student(config, loaded.model, start)
    files = None if keep is None else EmbeddingFiles(Path(keep), loaded.identity, loaded.shape)
    learned, held_out = split_images(images)
    config = with_origin(config, (image.name for image in learned), start)
    source = distill_images(config, loaded, learned, files)
    devices = start_devices(device, sharding)
    loaded = loaded.to(devices.accelerator.device)
    if num_validation and not held_out and notice is not None:
        notice(NOTHING_HELD_OUT)
    shown = replace(source, images=held_out[:num_validation], flip=0.0)
    validation = Validation(model, shown, loaded, files, target) if shown.images else None
    return conduct(
        make_student(model, loaded),
        make_step(config, loaded, files),
        source,
        config,
        target,
        devices,
        save=lambda weights, path: save_sam(delivered(model, weights), path),
        validate=None if validation is None else validation.measure,
        flops=batch_flops(model, loaded),
        report=report,
    )


def build_student(config: DistillConfig, teacher: Sam, start: str | Path | None = None) -> Sam:
    """The model that the run delivers, its encoder still to be taught; the random part is decided by the seed.

    Raises InputError for start weights with another encoder.
    """
    torch.manual_seed(config.seed)
    model = Sam(student_config(config, teacher.config))
    encoder = model.image_encoder
    if start is not None:
        is_vit = isinstance(model.config.encoder, ViTConfig)
        begun = load_sam(start, input_size=config.input_size if is_vit else None)
        if (begun.config.encoder, begun.config.width) != (model.config.encoder, model.config.width):
            raise InputError(
                f"{start} has no {config.model} encoder of width {model.config.width}, "
                f"which the recipe {config.recipe} teaches"
            )
        encoder.load_state_dict(begun.image_encoder.state_dict())
        if config.decoder == "own":
            begun.config = replace(begun.config, input_size=config.input_size)
            begun.image_encoder = encoder
            model = begun
    elif isinstance(encoder, CompactEncoder):
        load_imagenet_trunk(encoder.trunk)
    if config.decoder == "teacher":
        model.prompt_encoder.load_state_dict(teacher.prompt_encoder.state_dict())
        model.mask_decoder.load_state_dict(teacher.mask_decoder.state_dict())
    if isinstance(encoder, ImageEncoder):
        encoder.checkpointing = config.recompute
    if config.compiles:
        encoder.compile()
    return model


def make_student(model: Sam, teacher: Teacher) -> Student:
    """What the run trains: the model's encoder, and a projection where its features have not the teacher's width."""
    config = model.config
    shape = (config.width, config.grid_size, config.grid_size)
    return Student(model.image_encoder, shape, teacher.shape)


def batch_flops(model: Sam, teacher: Teacher) -> Callable[[DistillBatch], int]:
    """Floating point operations of a batch: the student there and back, the teacher there where nothing was kept."""
    learning = count_sam_flops(model).encoder
    asking = count_sam_flops(teacher.model).encoder

    def count(batch: DistillBatch) -> int:
        return learning * batch.num_images + asking * sum(one is None for one in batch.targets)

    return count


def delivered(model: Sam, weights: Weights) -> Sam:
    """The model with the encoder that a Student's weights hold; the projection stays behind."""
    encoder = {
        name.replace("encoder.", "image_encoder.", 1): value
        for name, value in weights.items()
        if name.startswith("encoder.")
    }
    return with_weights(model, {**model.state_dict(), **encoder})


def distill_images(
    config: DistillConfig,
    teacher: Teacher,
    images: tuple[ImageFile, ...],
    files: EmbeddingFiles | None,
) -> DistillImages:
    """The recipe's images; InputError where it asks for changes to them that an embedding cannot be kept for."""
    augmentation = config.data.augmentation
    if augmentation != replace(DataConfig().augmentation, flip=augmentation.flip):
        raise InputError(
            f"the recipe {config.recipe} changes images; for a teacher they can be flipped, no more"
        )
    return DistillImages(
        images=images,
        input_size=config.input_size,
        teacher_size=teacher.config.input_size,
        seed=config.seed,
        flip=augmentation.flip,
        files=files,
    )


def split_images(
    images: Sequence[ImageFile],
) -> tuple[tuple[ImageFile, ...], tuple[ImageFile, ...]]:
    """Those to learn from, and one in 25 to hold out, as in every run; where that leaves none to learn from, all are."""
    held_out = tuple(image for image in images if is_held_out(PurePosixPath(image.name).stem))
    learned = tuple(image for image in images if not is_held_out(PurePosixPath(image.name).stem))
    return (learned, held_out) if learned else (held_out, ())


class Validation:
    """How near a student comes to its teacher on held-out images; the teacher is asked once for each."""

    def __init__(
        self,
        model: Sam,
        images: DistillImages,
        teacher: Teacher,
        files: EmbeddingFiles | None,
        folder: Path,
    ) -> None:
        self._model, self._images, self._teacher, self._files = model, images, teacher, files
        self._device = next(teacher.model.parameters()).device
        self._targets: dict[int, Tensor] = {}
        self._skipped = SkippedItems(folder)

    def measure(self, weights: Weights, _step: int) -> dict[str, float]:
        """Relative error and cosine distance; the score is the share of the teacher's squares that is explained."""
        with torch.device("meta"):
            twin = make_student(Sam(self._model.config), self._teacher)
        twin.load_state_dict(dict(weights), assign=True)
        twin = twin.to(self._device).eval()
        error, energy, apart = 0.0, 0.0, 0.0
        count = 0
        numbers = range(len(self._images.images))
        for index, item in self._skipped.usable(self._images.prepare, numbers):
            with torch.no_grad():
                batch = self._batch(index, item)
                seen = distill_step(
                    twin, batch, 0, teacher=self._teacher, files=None, cosine_weight=0
                ).metrics
            count += 1
            error += float(seen["relative_error"].total)
            energy += float(seen["relative_error"].count)
            apart += float(seen["loss/cosine"].total)
        skipped = self._skipped.as_validation()
        if not count:
            return skipped
        relative = error / max(energy, 1e-12)
        return {
            "validation/relative_error": relative,
            "validation/cosine": apart / count,
            SCORE_NAME: 1.0 - relative,
            **skipped,
        }

    def _batch(self, index: int, item: DistillItem) -> DistillBatch:
        """Image `index` alone, with its target, which stays in memory from the first time on."""
        batch = self._images.collate([item]).to(self._device)
        if index not in self._targets:
            found = targets(batch, self._teacher, self._files)[0]
            self._targets[index] = found.to("cpu", torch.float16)
        return replace(batch, targets=(self._targets[index].to(self._device),))
