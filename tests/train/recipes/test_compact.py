from __future__ import annotations

import pytest

from segloop.model.config import model_config
from segloop.train.recipes.compact import MIXTURE, compact


def test_the_recipe_names_a_model_of_the_table() -> None:
    config = compact()
    assert config.recipe == "compact"
    encoder = model_config(config.model).encoder
    assert config.input_size % (4 * encoder.stride) == 0
    assert config.data.max_masks % config.data.repeats == 0


def test_the_mixture_is_made_of_shares() -> None:
    assert sum(MIXTURE.values()) == pytest.approx(1.0)
    assert min(MIXTURE.values()) > 0


def test_what_a_caller_changes_is_changed() -> None:
    config = compact(
        input_size=320, num_steps=7, batch_size=2, learning_rate=1e-3, frozen=("image_encoder",)
    )
    assert (config.input_size, config.num_steps, config.data.batch_size) == (320, 7, 2)
    assert (config.optim.learning_rate, config.optim.frozen) == (1e-3, ("image_encoder",))
