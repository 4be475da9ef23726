from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from segloop.data.folder import ImageFile, find_images
from segloop.errors import InputError
from segloop.model.config import MODELS
from segloop.model.sam import Sam
from segloop.train.config import DataConfig, OptimConfig
from segloop.train.distill_step import (
    DistillBatch,
    DistillConfig,
    DistillImages,
    Student,
    distill_step,
    make_step,
    student_config,
    targets,
)
from segloop.train.teacher import EmbeddingFiles, Teacher

SIDE = 64
SHAPE = (32, 8, 8)


@pytest.fixture
def images(tmp_path: Path) -> tuple[ImageFile, ...]:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, size_hw in enumerate(((40, 64), (64, 48), (32, 32))):
        pixels = rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return find_images([folder]).images


@pytest.fixture
def teacher() -> Teacher:
    torch.manual_seed(1)
    model = Sam(MODELS["toy"]).eval().requires_grad_(False)
    return Teacher(model, "teacher")


@pytest.fixture
def config() -> DistillConfig:
    return DistillConfig(
        recipe="test",
        model="toy",
        input_size=SIDE,
        num_steps=4,
        data=DataConfig(batch_size=2, num_workers=0),
        optim=OptimConfig(),
    )


def source(images: tuple[ImageFile, ...], files: EmbeddingFiles | None = None) -> DistillImages:
    return DistillImages(images, SIDE, SIDE, seed=3, flip=0.5, files=files)


def batch_of(source: DistillImages, *indices: int) -> DistillBatch:
    return source.collate([source.prepare(index) for index in indices])


class Constant(torch.nn.Module):
    """An encoder that gives what it was told."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = torch.nn.Parameter(features)

    def forward(self, images: Tensor) -> Tensor:
        return self.features.expand(len(images), -1, -1, -1)


def test_a_student_that_is_its_teacher_has_no_loss(
    images: tuple[ImageFile, ...], teacher: Teacher
) -> None:
    student = Student(teacher.model.image_encoder, SHAPE, SHAPE)
    output = distill_step(
        student,
        batch_of(source(images), 0, 1, 2),
        0,
        teacher=teacher,
        files=None,
        cosine_weight=1.0,
    )
    # What is left is the rounding to float16.
    assert output.loss.item() < 1e-5
    seen = output.metrics["relative_error"]
    assert float(seen.total) / float(seen.count) < 1e-6


def test_the_loss_is_the_one_computed_by_hand(
    images: tuple[ImageFile, ...], teacher: Teacher
) -> None:
    batch = batch_of(source(images), 0)
    batch = dataclasses.replace(batch, targets=(torch.ones(2, 1, 1, dtype=torch.float16),))
    student = Student(Constant(torch.tensor([3.0, 0.0]).reshape(1, 2, 1, 1)), (2, 1, 1), (2, 1, 1))
    output = distill_step(student, batch, 0, teacher=teacher, files=None, cosine_weight=10.0)
    squared, apart = (2.0**2 + 1.0**2) / 2, 1.0 - 3.0 / (3.0 * 2.0**0.5)
    assert output.loss.item() == pytest.approx(squared + 10.0 * apart)
    means = {name: float(one.total) / float(one.count) for name, one in output.metrics.items()}
    assert means == pytest.approx(
        {"loss/squared": squared, "loss/cosine": apart, "relative_error": squared / 1.0}
    )


def test_losses_of_parts_add_up(images: tuple[ImageFile, ...], teacher: Teacher) -> None:
    torch.manual_seed(2)
    student = Student(Sam(MODELS["toy"]).image_encoder, SHAPE, SHAPE).eval()

    def loss(*indices: int) -> float:
        batch = batch_of(source(images), *indices)
        assert batch.count == batch.num_images == len(indices)
        output = distill_step(student, batch, 0, teacher=teacher, files=None, cosine_weight=0.5)
        return output.loss.item()

    assert loss(0, 1, 2) == pytest.approx(loss(0) + loss(1) + loss(2), rel=1e-5)


def test_kept_embeddings_are_those_computed_on_the_fly(
    images: tuple[ImageFile, ...], teacher: Teacher, tmp_path: Path
) -> None:
    files = EmbeddingFiles(tmp_path / "kept", teacher.identity, teacher.shape)
    fresh = targets(batch_of(source(images), 0, 1, 2), teacher, None)
    first = batch_of(source(images, files), 0, 2)
    assert first.targets == (None, None)
    targets(first, teacher, files)
    mixed = batch_of(source(images, files), 0, 1, 2)
    assert [one is None for one in mixed.teacher_images] == [True, False, True]
    assert torch.equal(targets(mixed, teacher, files), fresh)
    full = batch_of(source(images, files), 0, 1, 2)
    assert full.teacher_images == (None, None, None)
    broken = dataclasses.replace(teacher, model=None)  # type: ignore[arg-type]
    assert torch.equal(targets(full, broken, files), fresh)


def test_a_mirror_image_has_its_own_embedding(
    images: tuple[ImageFile, ...], teacher: Teacher, tmp_path: Path
) -> None:
    files = EmbeddingFiles(tmp_path / "kept", teacher.identity, teacher.shape)
    drawn = source(images, files)
    plain, mirrored = drawn.prepare(2), drawn.prepare(2, flips=True)
    assert mirrored.key == f"{plain.key}-flipped"
    # The image is square: its mirror is that of the whole input.
    np.testing.assert_allclose(mirrored.image, plain.image[:, :, ::-1], atol=1e-6)
    targets(drawn.collate([plain, mirrored]), teacher, files)
    assert not np.array_equal(files.read(plain.key), files.read(mirrored.key))


def test_items_hang_on_seed_and_number_alone(images: tuple[ImageFile, ...]) -> None:
    drawn = source(images)
    again = pickle.loads(pickle.dumps(drawn))
    for number in range(8):
        one, other = drawn.item(number), again.item(number)
        assert (one.name, one.key) == (other.name, other.key)
        assert np.array_equal(one.image, other.image)
    keys = [drawn.item(number).key for number in range(40)]
    assert len(set(keys)) == 6
    others = dataclasses.replace(drawn, seed=4)
    assert keys != [others.item(number).key for number in range(40)]


def test_student_and_teacher_see_the_picture_at_their_own_sizes(
    images: tuple[ImageFile, ...],
) -> None:
    item = dataclasses.replace(source(images), teacher_size=128).prepare(0)
    assert item.image.shape == (3, 64, 64)
    assert item.teacher_image is not None
    assert item.teacher_image.shape == (3, 128, 128)
    # 40 x 64 pixels: the lower part of both squares is padding.
    assert (item.image[:, 40:] == 0).all()
    assert (item.teacher_image[:, 80:] == 0).all()


def test_the_projection_bridges_other_widths_and_grids() -> None:
    encoder = Sam(MODELS["toy"]).image_encoder
    picture = torch.randn(2, 3, SIDE, SIDE)
    assert torch.equal(Student(encoder, SHAPE, SHAPE)(picture), encoder(picture))
    for grid in (4, 8, 16):
        student = Student(encoder, SHAPE, (48, grid, grid))
        assert student(picture).shape == (2, 48, grid, grid)
    names = {name.partition(".")[0] for name in student.state_dict()}
    assert names == {"encoder", "projection"}


def test_only_the_student_learns(
    images: tuple[ImageFile, ...], teacher: Teacher, config: DistillConfig
) -> None:
    student = Student(Sam(MODELS["toy"]).image_encoder, SHAPE, (32, 8, 8))
    output = make_step(config, teacher, None)(student, batch_of(source(images), 0, 1), 0)
    output.loss.backward()
    assert all(one.grad is not None for one in student.parameters())
    assert all(one.grad is None for one in teacher.model.parameters())


def test_an_image_that_cannot_be_read_is_named(
    images: tuple[ImageFile, ...], tmp_path: Path
) -> None:
    (tmp_path / "images" / "1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"^[^\n]*1\.png: [^\n]*not an image[^\n]*$"):
        source(images).prepare(1)


def test_a_broken_teacher_is_told_apart_from_a_broken_run(
    images: tuple[ImageFile, ...], teacher: Teacher, tmp_path: Path
) -> None:
    with torch.no_grad():
        next(teacher.model.image_encoder.parameters()).fill_(float("inf"))
    files = EmbeddingFiles(tmp_path / "kept", teacher.identity, teacher.shape)
    with pytest.raises(InputError, match=r"^0\.png: the teacher's embedding is not finite"):
        targets(batch_of(source(images, files), 0), teacher, files)
    assert not (tmp_path / "kept").exists()


def test_the_delivered_sizes(config: DistillConfig) -> None:
    vit = MODELS["vit_b"]
    compact = dataclasses.replace(config, model="compact", input_size=512)
    assert student_config(compact, vit) == MODELS["compact"]
    swapped = student_config(dataclasses.replace(compact, decoder="teacher"), vit)
    assert swapped.encoder == MODELS["compact"].encoder
    assert (swapped.width, swapped.decoder, swapped.mask_widths) == (256, vit.decoder, (4, 16))
    assert (swapped.grid_size, swapped.input_size) == (64, 512)
    assert not swapped.fills_boxes
    with pytest.raises(InputError, match="must be a multiple of 32, got 500"):
        student_config(dataclasses.replace(compact, input_size=500), vit)
