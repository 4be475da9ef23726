"""Masks as columns, and the measures taken of them."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.geometry.masks import MaskBatch, mask_boxes, mask_iou, stability_score


def batch_of(num: int, seed: int = 0) -> MaskBatch:
    random = np.random.default_rng(seed)
    return MaskBatch(
        masks=random.random((num, 6, 9)) < 0.4,
        predicted_iou=random.random(num).astype(np.float32),
        stability_score=random.random(num).astype(np.float32),
        prompt_index=np.arange(num) // 3,
        output_index=np.arange(num) % 3 + 1,
        logits=random.normal(size=(num, 4, 4)).astype(np.float32),
    )


def test_areas_and_size() -> None:
    batch = batch_of(4)
    assert batch.image_hw == (6, 9)
    assert batch.areas.tolist() == [int(mask.sum()) for mask in batch.masks]
    assert batch.areas.dtype == np.int64


def test_columns_of_different_length_are_refused() -> None:
    batch = batch_of(2)
    with pytest.raises(ValueError, match="differ in length"):
        MaskBatch(
            batch.masks,
            batch.predicted_iou[:1],
            batch.stability_score,
            batch.prompt_index,
            batch.output_index,
            batch.logits,
        )


@pytest.mark.parametrize("keep", [[2, 0], np.array([True, False, True, False]), [], np.arange(2)])
def test_selecting_keeps_the_columns_together(keep: object) -> None:
    batch = batch_of(4)
    chosen = batch.select(keep)  # type: ignore[arg-type]
    rows = np.arange(4)[np.asarray(keep, dtype=None if len(keep) else int)]  # type: ignore[arg-type]
    assert chosen.predicted_iou.tolist() == batch.predicted_iou[rows].tolist()
    np.testing.assert_array_equal(chosen.masks, batch.masks[rows])
    np.testing.assert_array_equal(chosen.logits, batch.logits[rows])
    assert chosen.output_index.tolist() == batch.output_index[rows].tolist()


def test_best_takes_the_highest_predicted_of_each_prompt() -> None:
    batch = batch_of(9)
    best = batch.best()
    assert best.prompt_index.tolist() == [0, 1, 2]
    expected = batch.predicted_iou.reshape(3, 3).max(axis=1)
    assert best.predicted_iou.tolist() == expected.tolist()


def test_batches_are_put_below_one_another() -> None:
    first, second = batch_of(2, 0), batch_of(3, 1)
    joined = MaskBatch.concatenate([first, second])
    assert len(joined) == 5
    np.testing.assert_array_equal(joined.masks[2:], second.masks)
    np.testing.assert_array_equal(joined.logits[:2], first.logits)


def test_boxes_are_tight_and_lie_on_the_last_pixel() -> None:
    masks = np.zeros((3, 5, 7), dtype=bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 4, 6] = True
    assert mask_boxes(masks).tolist() == [[2, 1, 5, 2], [6, 4, 6, 4], [0, 0, 0, 0]]


def test_iou_of_known_masks() -> None:
    full, empty = np.ones((2, 3), dtype=bool), np.zeros((2, 3), dtype=bool)
    half = np.array([[1, 1, 1], [0, 0, 0]], dtype=bool)
    first, second = np.stack([full, full, empty, half]), np.stack([half, empty, empty, half])
    assert mask_iou(first, second).tolist() == [0.5, 0.0, 1.0, 1.0]
    assert mask_iou(full, half) == 0.5


def test_stability_is_the_iou_of_the_two_cuts() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (2, 3, 8, 8)).astype(np.float32)
    score = stability_score(logits)
    assert score.shape == (2, 3)
    expected = mask_iou(logits > 1.0, logits > -1.0)
    np.testing.assert_allclose(score, expected, rtol=1e-6)
    shifted = stability_score(logits + 2.0, threshold=2.0, offset=0.5)
    np.testing.assert_allclose(shifted, mask_iou(logits > 0.5, logits > -0.5), atol=1e-3)


def test_a_mask_that_is_nowhere_is_not_stable() -> None:
    assert stability_score(np.full((4, 4), -9.0, dtype=np.float32)) == 0.0
    assert stability_score(np.full((4, 4), 9.0, dtype=np.float32)) == 1.0
