from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from segloop.train.config import TrainConfig
from segloop.train.recipes.ablations import (
    ablation_base,
    ablation_eleven_rounds,
    ablation_mean,
    ablation_no_iou,
    ablation_one_round,
)


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        (ablation_mean, {"ambiguity": "mean"}),
        (ablation_one_round, {"num_clicks": 0, "num_mask_only": 0}),
        (ablation_eleven_rounds, {"num_clicks": 8, "num_mask_only": 2}),
        (ablation_no_iou, {"iou_weight": 0.0}),
    ],
)
def test_each_changes_what_it_is_named_for_and_nothing_else(
    recipe: Callable[[], TrainConfig], changes: dict[str, Any]
) -> None:
    expected = asdict(ablation_base())
    expected["recipe"] = recipe.__name__
    expected["interaction"] |= changes
    assert asdict(recipe()) == expected


def test_rounds_are_those_of_their_names() -> None:
    recipes = (ablation_one_round, ablation_base, ablation_eleven_rounds)
    assert [recipe().interaction.num_steps for recipe in recipes] == [1, 4, 11]
