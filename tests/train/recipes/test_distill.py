from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segloop.model.config import MODELS
from segloop.model.sam import Sam
from segloop.train.distill import build_student, run_distill
from segloop.train.distill_step import student_config
from segloop.train.recipes.distill import distill, distill_swap, distill_toy
from segloop.weights.load import load_sam, save_sam


def test_the_student_is_compact_and_then_trains_like_any_other() -> None:
    config = distill()
    assert (config.recipe, config.decoder) == ("distill", "own")
    assert student_config(config, MODELS["vit_h"]) == MODELS["compact"]
    assert config.optim.schedule == "cosine"


def test_the_swapped_encoder_fits_the_official_decoder() -> None:
    config = distill_swap()
    assert (config.recipe, config.decoder) == ("distill_swap", "teacher")
    with torch.device("meta"):
        taught = Sam(MODELS["vit_b"])
        model = Sam(student_config(config, taught.config))
    assert model.config.grid_size == taught.config.grid_size
    theirs = {name: one.shape for name, one in taught.mask_decoder.state_dict().items()}
    assert theirs == {name: one.shape for name, one in model.mask_decoder.state_dict().items()}


def test_the_toy_recipe_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = Sam(MODELS["tiny"])
    save_sam(teacher, tmp_path / "teacher.safetensors")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / "one.png")
    config = distill_toy()
    config = dataclasses.replace(
        config, num_steps=2, data=dataclasses.replace(config.data, num_workers=0)
    )
    # A teacher of the same width with a finer grid: the student's features are resized to it.
    path = run_distill(
        config, tmp_path / "teacher.safetensors", [tmp_path / "one.png"], tmp_path / "run"
    )
    assert load_sam(path).config == MODELS["toy"]
    assert build_student(config, teacher).config == MODELS["toy"]
