from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from segloop.errors import InputError
from segloop.model.config import model_config, with_text
from segloop.model.sam import Sam
from segloop.train.config import TrainConfig
from segloop.train.recipes.text import with_text_step
from segloop.train.text import add_text, run_text
from segloop.train.throughput import count_sam_flops
from segloop.weights.load import load_sam, save_sam


@pytest.fixture
def clip(tmp_path: Path) -> Path:
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
    return tmp_path / "clip"


def test_from_a_model_and_a_clip_to_a_model_that_takes_text(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig, clip: Path
) -> None:
    save_sam(Sam(model_config("toy")), tmp_path / "start.safetensors")
    config = dataclasses.replace(with_text_step(small_config), num_steps=2, min_side=8)
    path = run_text(
        config, clip, [shapes_tar], tmp_path / "run", start=tmp_path / "start.safetensors"
    )
    assert load_sam(path).config.text_width == 6


def test_objects_too_small_for_a_picture_are_left_out(
    shapes_tar: Path, tmp_path: Path, small_config: TrainConfig, clip: Path
) -> None:
    config = dataclasses.replace(with_text_step(small_config), num_steps=2, min_side=60)
    with pytest.raises(InputError, match="no usable mask"):
        run_text(config, clip, [shapes_tar], tmp_path / "run")


def test_a_projection_is_added_and_all_else_stays() -> None:
    model = Sam(model_config("toy"))
    grown = add_text(model, 6, seed=1)
    assert grown.config.text_width == 6
    for name, value in model.state_dict().items():
        assert torch.equal(grown.state_dict()[name], value)
    assert torch.equal(
        grown.state_dict()["prompt_encoder.text_projection.weight"],
        add_text(model, 6, seed=1).state_dict()["prompt_encoder.text_projection.weight"],
    )
    assert add_text(grown, 6) is grown


def test_a_run_is_told_its_operations(
    shapes_tar: Path,
    tmp_path: Path,
    small_config: TrainConfig,
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Callable[[Any], int]] = {}
    monkeypatch.setattr(
        "segloop.train.text.conduct_sam", lambda *_, **options: given.update(options)
    )
    config = dataclasses.replace(with_text_step(small_config), min_side=8)
    run_text(config, clip, [shapes_tar], tmp_path / "run")
    counted = count_sam_flops(Sam(with_text(model_config("toy"), 6)))
    operations = given["flops"](SimpleNamespace(num_images=2, count=5))
    assert operations == 2 * counted.encoder + 5 * 3 * counted.decoder > 0
