from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from segloop.data.augment import LARGE_SCALE_JITTER, NO_AUGMENTATION
from segloop.model.config import model_config
from segloop.model.sam import Sam
from segloop.train.config import TrainConfig
from segloop.train.recipes.sam import all_stages, generator, vit_b, vit_h, vit_l


def numbers(config: TrainConfig) -> tuple[object, ...]:
    optim = config.optim
    return (
        *(config.num_steps, config.global_batch, optim.learning_rate, optim.layer_decay),
        *(config.drop_path, optim.weight_decay, optim.warmup_steps, config.data.max_masks),
    )


def test_the_papers_table() -> None:
    """Paper appendix A: updates, batch, rate, layer decay, drop path, weight decay, warm-up, masks an image."""
    assert numbers(vit_h()) == (90_000, 256, 8e-4, 0.8, 0.4, 0.1, 250, 64)
    assert numbers(vit_l()) == (180_000, 128, 4e-4, 0.8, 0.4, 0.1, 250, 64)
    assert numbers(vit_b()) == (180_000, 128, 8e-4, 0.6, 0.6, 0.1, 250, 64)


@pytest.mark.parametrize("recipe", [vit_h, vit_l, vit_b])
def test_all_talk_eleven_rounds_and_change_no_image(recipe: Callable[[], TrainConfig]) -> None:
    config = recipe()
    assert config.interaction.num_steps == 11
    assert config.interaction.first_box == 0.5
    augmentation = config.data.augmentation
    assert augmentation == NO_AUGMENTATION
    assert config.input_size == model_config(config.model).input_size == 1024
    share = [milestone / config.num_steps for milestone in config.optim.milestones]
    assert share == pytest.approx([2 / 3, 86_666 / 90_000], abs=1e-4)


def test_the_generator_of_sa1b() -> None:
    """Paper appendix B: 177,656 updates, three decoder layers, four points a mask, no boxes, large-scale jitter."""
    config = generator()
    assert config.num_steps == 177_656
    assert 1 + config.interaction.num_clicks == 4
    assert config.interaction.first_box == 0.0
    assert config.data.augmentation == LARGE_SCALE_JITTER
    with torch.device("meta"):
        decoders = [Sam(model_config(name)).mask_decoder for name in (config.model, "vit_h")]
    assert [len(decoder.layers) for decoder in decoders] == [3, 2]


def test_images_of_the_first_stages_count_ten_times() -> None:
    """Paper §7.6."""
    data = all_stages().data
    assert data.weighs_images
    assert data.weights == {"manual*": 10.0, "semi_automatic*": 10.0}
