"""The toy, each time without one ingredient of the paper's recipe: to see what it is good for.

    segloop train ablation_mean --data DIR --seed 0 -o RUN

1500 steps, about four minutes on one core (0.07 hours; eleven rounds: 0.15). On COCO images that it never saw, the base has
an IoU of .09 for a click and .12 for a box, mean of three seeds; docs/guide/train.md has the others. The start from a masked
autoencoder is ablation_base with --start.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from segloop.train.config import TrainConfig
from segloop.train.recipes.toy import toy


def ablation_base() -> TrainConfig:
    """What the others are held against: the toy, shorter."""
    return replace(toy(num_steps=1500), recipe="ablation_base")


def ablation_mean() -> TrainConfig:
    """All three outputs of a lone point learn every mask, not the nearest alone."""
    return _with("ablation_mean", ambiguity="mean")


def ablation_one_round() -> TrainConfig:
    """The first prompt and nothing after it."""
    return _with("ablation_one_round", num_clicks=0, num_mask_only=0)


def ablation_eleven_rounds() -> TrainConfig:
    """Eight clicks and two rounds without, as in the paper, where the toy has two and one."""
    return _with("ablation_eleven_rounds", num_clicks=8, num_mask_only=2)


def ablation_no_iou() -> TrainConfig:
    """Predicted IoU is not trained, so which of three masks is shown means nothing."""
    return _with("ablation_no_iou", iou_weight=0.0)


def _with(recipe: str, **changes: Any) -> TrainConfig:
    base = ablation_base()
    return replace(base, recipe=recipe, interaction=replace(base.interaction, **changes))
