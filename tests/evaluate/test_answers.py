from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from segloop.errors import InputError
from segloop.evaluate.answers import check_answer
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.masks import MaskBatch

COLUMNS = {
    "predicted_iou": "predicted IoU",
    "stability_score": "stability",
    "logits": "logit",
}


@pytest.fixture
def answer() -> MaskBatch:
    return MaskBatch(
        masks=np.zeros((2, 3, 4), dtype=bool),
        predicted_iou=np.array([0.5, -0.1], dtype=np.float32),
        stability_score=np.zeros(2, dtype=np.float32),
        prompt_index=np.arange(2),
        output_index=np.zeros(2, dtype=np.int64),
        logits=np.full((2, 4, 4), -30.0, dtype=np.float32),
    )


def test_numbers_pass_and_so_does_nothing(answer: MaskBatch) -> None:
    check_answer(answer)
    check_answer(answer.select([]))
    check_answer(EncodedMasks.none((3, 4)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", COLUMNS)
def test_what_is_no_number_is_named(answer: MaskBatch, column: str, value: float) -> None:
    damaged = getattr(answer, column).copy()
    damaged.flat[-1] = value
    with pytest.raises(InputError, match=f"^a {COLUMNS[column]} is no number: the model's weights"):
        check_answer(dataclasses.replace(answer, **{column: damaged}))


@pytest.mark.parametrize("column", ["predicted_iou", "stability_score"])
def test_masks_without_a_pixel_are_looked_at_too(column: str) -> None:
    damaged = np.full(1, np.nan, dtype=np.float32)
    encoded = EncodedMasks.encode(np.zeros((1, 3, 4), dtype=bool), **{column: damaged})
    with pytest.raises(InputError, match=f"a {COLUMNS[column]} is no number"):
        check_answer(encoded)
