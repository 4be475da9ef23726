from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from segloop.errors import InputError, WeightsError
from segloop.model.config import MODELS
from segloop.model.sam import Sam
from segloop.train.teacher import EmbeddingFiles, Teacher, load_teacher
from segloop.weights.catalog import file_identity
from segloop.weights.load import save_sam

SHAPE = (32, 8, 8)


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "toy.safetensors"
    save_sam(Sam(MODELS["toy"]), path)
    return path


def test_embeds_as_the_model_encodes_whatever_else_is_asked(toy_file: Path) -> None:
    teacher = load_teacher(toy_file)
    assert teacher.identity == file_identity(toy_file)
    assert teacher.shape == SHAPE
    images = torch.randn(3, 3, 64, 64)
    found = teacher.embed(images[1])
    assert found.dtype == torch.float16
    assert not found.requires_grad
    expected = teacher.model.encode(images)[1]
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-3)


def test_a_coarser_teacher_is_another_teacher(toy_file: Path) -> None:
    exact, coarse = load_teacher(toy_file), load_teacher(toy_file, "bfloat16")
    assert exact.identity != coarse.identity
    image = torch.randn(3, 64, 64)
    near = coarse.embed(image).float() - exact.embed(image).float()
    assert 0 < float(near.abs().mean()) < 0.05


def test_the_packaged_model_can_teach() -> None:
    assert load_teacher("default").shape == (128, 64, 64)


def test_a_run_in_half_precision_leaves_the_teacher_exact(toy_file: Path) -> None:
    teacher = load_teacher(toy_file)
    image = torch.randn(3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        within = teacher.embed(image)
    assert torch.equal(within, teacher.embed(image))


@pytest.mark.parametrize("content", [b"", b"<html>sorry</html>", b"PK\x03\x04cut"])
def test_a_wrong_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sam_vit_b.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"^[^\n]*sam_vit_b\.pth: expected a PyTorch or [^\n]*$"):
        load_teacher(path)
    with pytest.raises(WeightsError, match=r"^none\.pth: no such file$"):
        load_teacher("none.pth")


def test_what_is_written_is_read_by_that_teacher_alone(tmp_path: Path) -> None:
    files = EmbeddingFiles(tmp_path, "abc", SHAPE)
    features = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float16)
    assert files.read("0123") is None
    files.write("0123", features)
    found = files.read("0123")
    assert found is not None
    assert np.array_equal(found, features)
    assert EmbeddingFiles(tmp_path, "abd", SHAPE).read("0123") is None
    assert files.read("0123-flipped") is None
    assert [path.name for path in tmp_path.rglob("*.npy")] == ["0123.npy"]


def test_who_may_read_other_new_files_may_read_embeddings(tmp_path: Path) -> None:
    EmbeddingFiles(tmp_path, "abc", SHAPE).write("0123", np.zeros(SHAPE, dtype=np.float16))
    (path,) = tmp_path.rglob("*.npy")
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("damage", ["cut", "empty", "shape", "type", "pickle"])
def test_a_damaged_file_counts_as_none(tmp_path: Path, damage: str) -> None:
    files = EmbeddingFiles(tmp_path, "abc", SHAPE)
    files.write("0123", np.zeros(SHAPE, dtype=np.float16))
    (path,) = tmp_path.rglob("*.npy")
    if damage in ("cut", "empty"):
        path.write_bytes(path.read_bytes()[: 500 if damage == "cut" else 0])
    elif damage == "pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        shape = (32, 4, 4) if damage == "shape" else SHAPE
        np.save(path, np.zeros(shape, dtype=np.float32 if damage == "type" else np.float16))
    assert files.read("0123") is None
    files.write("0123", np.ones(SHAPE, dtype=np.float16))
    assert files.read("0123") is not None


def test_a_disk_that_refuses_is_one_line(tmp_path: Path) -> None:
    in_the_way = tmp_path / "embeddings"
    in_the_way.write_text("")
    files = EmbeddingFiles(in_the_way, "abc", SHAPE)
    with pytest.raises(InputError, match=r"^cannot keep embeddings in [^\n]*; make room[^\n]*$"):
        files.write("0123", np.zeros(SHAPE, dtype=np.float16))
    assert files.read("0123") is None


def test_another_device_is_another_teacher_of_the_same_name(toy_file: Path) -> None:
    teacher = load_teacher(toy_file)
    moved = teacher.to(torch.device("cpu"))
    assert isinstance(moved, Teacher)
    assert moved.identity == teacher.identity
