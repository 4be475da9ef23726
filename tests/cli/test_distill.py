"""segloop train distill: from a teacher and photographs to a smaller model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from segloop.cli.distill import DISTILL_RECIPES
from segloop.cli.main import build_app
from segloop.cli.train import find_recipe
from segloop.model.config import model_config
from segloop.model.sam import Sam
from segloop.weights.load import load_sam, save_sam


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_sam(Sam(model_config("toy")), tmp_path / "teacher.safetensors")
    return tmp_path / "teacher.safetensors"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["train", "distill", *map(str, arguments)])


def test_a_student_is_taught_and_its_teacher_kept(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    options = ("--recipe", "distill_toy", "--steps", 2, "--workers", 0, "--keep", tmp_path / "kept")
    result = run("--teacher", teacher, "--data", photos, "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert load_sam(result.stdout.strip()).config.input_size == 64
    assert result.stderr == "segloop: no image is held out, so nothing is validated\n"
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["recipe"], config["num_steps"]) == ("distill_toy", 2)
    assert any((tmp_path / "kept").rglob("*"))


@pytest.mark.parametrize("name", DISTILL_RECIPES)
def test_every_recipe_is_a_configuration_of_its_name(name: str) -> None:
    assert find_recipe(name, DISTILL_RECIPES).recipe == name


def test_what_is_no_teacher_gets_one_line(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not weights")
    result = run("--teacher", tmp_path / "notes.txt", "--data", photos, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "notes.txt" in result.stderr
    assert "Traceback" not in result.output
