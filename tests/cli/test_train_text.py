"""segloop train text: from a model and a CLIP to a model that takes text vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from typer.testing import CliRunner, Result

from segloop.cli.main import build_app
from segloop.cli.train import find_recipe
from segloop.cli.train_text import TEXT_RECIPES
from segloop.geometry.rle import encode_rle
from segloop.weights.load import load_sam


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Two images of one bright box in SA-1B layout."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    for number in (1, 2):
        mask = np.zeros((48, 64), dtype=np.bool_)
        mask[10:40, 12 : 30 + number] = True
        pixels = np.where(mask[..., None], 230, 20).astype(np.uint8).repeat(3, axis=2)
        Image.fromarray(pixels).save(folder / f"shape_{number}.png")
        annotation = {
            "id": number,
            "segmentation": encode_rle(mask).to_json(),
            "bbox": [12, 10, 18 + number, 30],
            "area": int(mask.sum()),
        }
        record = json.dumps({"annotations": [annotation]})
        (folder / f"shape_{number}.json").write_text(record)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build_app(), ["train", "text", *map(str, arguments)])


def test_a_model_learns_to_take_vectors(shapes: Path, tmp_path: Path) -> None:
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        projection_dim=6,
        image_size=16,
        patch_size=8,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "clip")
    options = ("--recipe", "text_toy", "--steps", 1, "--workers", 0, "--validate", 0)
    result = run("--clip", tmp_path / "clip", "--data", shapes, "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert load_sam(result.stdout.strip()).config.text_width == 6


@pytest.mark.parametrize("name", TEXT_RECIPES)
def test_every_recipe_is_a_configuration_of_its_name(name: str) -> None:
    assert find_recipe(name, TEXT_RECIPES).recipe == name


def test_what_is_no_clip_gets_one_line(shapes: Path, tmp_path: Path) -> None:
    result = run("--clip", tmp_path / "none", "--data", shapes, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "cannot be loaded" in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
