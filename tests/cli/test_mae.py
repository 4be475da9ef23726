"""segloop train mae: from photographs to an encoder to start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from segloop.cli.mae import MAE_RECIPES
from segloop.cli.main import build_app
from segloop.cli.train import find_recipe
from segloop.weights.mae import load_mae


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(
            folder / f"{number}.png"
        )
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["train", "mae", *map(str, arguments)])


def test_an_encoder_is_pretrained(photos: Path, tmp_path: Path) -> None:
    options = ("--steps", 2, "--batch-size", 2, "--workers", 0)
    result = run("--recipe", "mae_toy", "--data", photos, "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert load_mae(result.stdout.strip()).config.input_size == 64
    assert result.stderr == "segloop: no image is held out, so nothing is validated\n"


@pytest.mark.parametrize("name", MAE_RECIPES)
def test_every_recipe_is_a_configuration_of_its_name(name: str) -> None:
    assert find_recipe(name, MAE_RECIPES).recipe == name


def test_what_cannot_be_trained_gets_one_line(photos: Path, tmp_path: Path) -> None:
    result = run("--recipe", "mae_giant", "--data", photos, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "no recipe 'mae_giant'; there are mae_toy" in " ".join(result.stderr.split())
