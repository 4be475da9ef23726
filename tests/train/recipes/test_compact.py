from __future__ import annotations

from collections.abc import Callable

import pytest

from segloop.model.config import model_config
from segloop.model.sam import Sam
from segloop.train.config import TrainConfig
from segloop.train.optim import build_optimizer
from segloop.train.recipes.compact import MIXTURE, compact, compact_warmup


@pytest.mark.parametrize("recipe", [compact, compact_warmup])
def test_the_recipe_fits_a_model_of_the_table(recipe: Callable[[], TrainConfig]) -> None:
    config = recipe()
    assert config.recipe == recipe.__name__
    encoder = model_config(config.model).encoder
    assert config.input_size % (4 * encoder.stride) == 0
    assert config.data.max_masks % config.data.repeats == 0


def test_the_mixture_is_made_of_shares() -> None:
    assert sum(MIXTURE.values()) == pytest.approx(1.0)
    assert min(MIXTURE.values()) > 0


def test_the_warm_up_freezes_the_trunk_and_nothing_else() -> None:
    config = compact_warmup()
    model = Sam(model_config(config.model))
    build_optimizer(model, config.optim)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (not name.startswith("image_encoder.trunk."))


def test_the_warm_up_talks_one_round_and_the_rest_three() -> None:
    assert compact_warmup().interaction.num_steps == 1
    assert compact().interaction.num_steps == 3
