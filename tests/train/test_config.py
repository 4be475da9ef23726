from __future__ import annotations

import dataclasses

from segloop.train.config import DataConfig, InteractionConfig, OptimConfig, TrainConfig


def test_the_defaults_are_the_papers() -> None:
    """Paper appendix A: eleven rounds, half boxes, no augmentation, AdamW with these numbers."""
    interaction = InteractionConfig()
    assert interaction.num_steps == 11
    assert (interaction.first_box, interaction.first_mask) == (0.5, 0.0)
    optim = OptimConfig()
    assert (optim.learning_rate, optim.weight_decay, optim.layer_decay) == (8e-4, 0.1, 0.8)
    assert (optim.warmup_steps, optim.milestones) == (250, (60_000, 86_666))
    assert optim.betas == (0.9, 0.999)
    augmentation = DataConfig().augmentation
    assert (augmentation.zoom, augmentation.flip, augmentation.color) == (0.0, 0.0, 0.0)


def test_configurations_do_not_share_what_can_be_changed() -> None:
    assert DataConfig().weights is not DataConfig().weights
    assert all(
        cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
        for cls in (DataConfig, InteractionConfig, OptimConfig, TrainConfig)
    )


def test_a_configuration_is_plain_values(small_config: TrainConfig) -> None:
    """It is stored with every checkpoint, which holds tensors and plain values alone."""

    def is_plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(map(is_plain, value.values()))
        if isinstance(value, tuple):
            return all(map(is_plain, value))
        return value is None or isinstance(value, str | int | float | bool)

    assert is_plain(dataclasses.asdict(small_config))
