from __future__ import annotations

import pytest

from segloop.model.mae import mae_config
from segloop.train.recipes.mae import mae_toy, mae_vit_b, mae_vit_h, mae_vit_l


def test_the_official_numbers() -> None:
    """FACTS of the official code: 4096 images, rate 1.5e-4 a 256 of them, decay .05, betas .9 and .95, 40 of 800 rounds."""
    for recipe in (mae_vit_b, mae_vit_l, mae_vit_h):
        config = recipe()
        assert config.global_batch == 4096
        assert config.optim.learning_rate == pytest.approx(2.4e-3)
        assert config.optim.betas == (0.9, 0.95)
        assert config.optim.weight_decay == 0.05
        assert config.optim.schedule == "cosine"
        assert config.optim.warmup_steps / config.num_steps == pytest.approx(1 / 20)
        assert (config.hidden, config.least_area) == (0.75, 0.2)
        assert mae_config(config.model, config.input_size).grid_size == 14


def test_the_toy_fits_the_toy_of_the_promptable_model() -> None:
    config = mae_toy()
    assert (config.model, config.input_size) == ("toy", 64)
