from __future__ import annotations

from dataclasses import replace

import pytest

from segloop.errors import InputError
from segloop.model.config import model_config
from segloop.train.config import InteractionConfig
from segloop.train.recipes.compact import compact
from segloop.train.recipes.finetune import finetune_recipe


@pytest.mark.parametrize("name", ["compact", "vit_b", "toy"])
@pytest.mark.parametrize("method", ["lora", "decoder", "full"])
def test_a_recipe_fits_the_start_weights(method: str, name: str) -> None:
    config = finetune_recipe(method, model_config(name), start="mine", num_steps=70, seed=3)
    assert config.recipe == f"finetune_{method}"
    assert (config.model, config.num_steps, config.seed) == ("mine", 70, 3)
    assert config.input_size == model_config(name).input_size
    assert (config.lora is not None) == (method == "lora")
    assert config.optim.schedule == "cosine"


def test_strengths_differ_in_what_learns() -> None:
    vit = model_config("vit_b")
    assert finetune_recipe("decoder", vit, start="x").optim.frozen == ("image_encoder",)
    assert finetune_recipe("full", vit, start="x").optim.frozen == ()
    assert finetune_recipe("full", vit, start="x").optim.layer_decay < 1
    assert finetune_recipe("lora", vit, start="x").optim.layer_decay == 1


def test_the_compact_model_goes_on_as_it_was_trained() -> None:
    """Each number of how it learns, but for how long a conversation is and how it begins."""
    for name, trained in (("compact", compact().interaction), ("vit_b", InteractionConfig())):
        tuned = finetune_recipe("lora", model_config(name), start=name).interaction
        assert (tuned.num_clicks, tuned.num_mask_only, tuned.first_box) == (1, 0, 0.35)
        own = replace(trained, num_clicks=1, num_mask_only=0, first_box=0.35)
        assert tuned == own
    assert compact().interaction.dice_weight != InteractionConfig().dice_weight


def test_an_unknown_method_is_one_line() -> None:
    with pytest.raises(InputError, match="no method 'prompt'; there are lora, decoder, full"):
        finetune_recipe("prompt", model_config("toy"), start="toy")


def test_the_strength_is_the_methods_own_or_what_is_asked_for() -> None:
    toy = model_config("toy")
    assert finetune_recipe("lora", toy, start="toy").strength == 0.35
    assert finetune_recipe("full", toy, start="toy").strength == 1.0
    assert finetune_recipe("lora", toy, start="toy", strength=0.0).strength == 0.0
    for strength in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match="the strength lies between 0 and 1, got"):
            finetune_recipe("lora", toy, start="toy", strength=strength)
