from __future__ import annotations

from segloop.train.recipes.text import text


def test_the_papers_numbers() -> None:
    """Paper D.5: 120,000 updates of 128 images, objects of 100 pixels squared and more, half of them blanked."""
    config = text()
    assert (config.num_steps, config.global_batch) == (120_000, 128)
    assert (config.min_side, config.largest_crop, config.blank) == (100, 2.0, 0.5)
    assert config.interaction.num_steps == 11
    assert (config.model, config.optim.learning_rate) == ("vit_h", 8e-4)
