from __future__ import annotations

import dataclasses
from pathlib import Path

from segloop.model.config import ViTConfig, model_config
from segloop.train.recipes.toy import toy
from segloop.train.run import run_recipe


def test_the_recipe_is_a_small_vit_from_scratch() -> None:
    config = toy()
    assert config.recipe == "toy"
    assert isinstance(model_config(config.model).encoder, ViTConfig)
    assert config.input_size == model_config(config.model).input_size == 64
    assert config.optim.milestones[0] < config.num_steps


def test_the_recipe_runs(shapes_tar: Path, tmp_path: Path) -> None:
    config = toy(num_steps=2)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, num_workers=0))
    assert run_recipe(config, [shapes_tar], tmp_path / "run").is_file()
