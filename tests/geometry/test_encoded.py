"""Many masks as run lengths: rows stay together whatever is done with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.rle import encode_rle

IMAGE_HW = (12, 20)


def squares(count: int, start: int = 0) -> EncodedMasks:
    masks = np.zeros((count, *IMAGE_HW), dtype=np.bool_)
    for row, mask in enumerate(masks):
        mask[row : row + 3, start + row : start + row + 4] = True
    numbers = np.arange(start, start + count)
    scores = numbers.astype(np.float32) / 10
    return EncodedMasks.encode(
        masks,
        predicted_iou=scores,
        stability_score=scores + 1,
        points_xy=np.stack([scores, scores], axis=1),
        prompt_index=numbers,
        output_index=1 + numbers % 3,
    )


def columns_of(masks: EncodedMasks, row: int) -> tuple[object, ...]:
    return (
        masks.rles[row],
        *masks.boxes_xyxy[row].tolist(),
        int(masks.areas[row]),
        float(masks.predicted_iou[row]),
        float(masks.stability_score[row]),
        *masks.points_xy[row].tolist(),
        *masks.crop_boxes_xyxy[row].tolist(),
        int(masks.prompt_index[row]),
        int(masks.output_index[row]),
    )


def test_a_mask_comes_back_as_it_was() -> None:
    mask = squares(3).mask(1)
    expected = np.zeros(IMAGE_HW, dtype=np.bool_)
    expected[1:4, 1:5] = True
    np.testing.assert_array_equal(mask, expected)


def test_columns_that_are_not_given_claim_nothing() -> None:
    pixels = np.zeros((2, *IMAGE_HW), dtype=np.bool_)
    pixels[1, 2:5, 3:9] = True
    masks = EncodedMasks.encode(pixels, stability_score=np.array([0.5, 0.25], dtype=np.float32))
    assert masks.image_hw == IMAGE_HW
    assert masks.rles[1] == encode_rle(pixels[1])
    assert masks.areas.tolist() == [0, 18]
    assert masks.boxes_xyxy.tolist() == [[0, 0, 0, 0], [3, 2, 8, 4]]
    assert masks.crop_boxes_xyxy.tolist() == [[0, 0, 20, 12]] * 2
    assert masks.predicted_iou.tolist() == [1, 1]
    assert masks.stability_score.tolist() == [0.5, 0.25]
    assert masks.prompt_index.tolist() == [0, 1]


@pytest.mark.parametrize(
    "keep", [np.array([False, True, False, True]), np.array([1, 3]), [1, 3]], ids=str
)
def test_selected_rows_keep_their_columns(keep: object) -> None:
    masks = squares(4)
    chosen = masks.select(keep)  # type: ignore[arg-type]
    assert [columns_of(chosen, row) for row in range(2)] == [columns_of(masks, r) for r in (1, 3)]


def test_rows_can_be_put_in_another_order() -> None:
    masks = squares(3)
    turned = masks.select([2, 0, 1])
    assert [columns_of(turned, row) for row in range(3)] == [
        columns_of(masks, r) for r in (2, 0, 1)
    ]


def test_nothing_selected_leaves_an_empty_batch_of_the_same_image() -> None:
    for keep in ([], np.zeros(3, dtype=np.bool_)):
        empty = squares(3).select(keep)
        assert len(empty) == 0
        assert empty.image_hw == IMAGE_HW
        assert empty.boxes_xyxy.shape == (0, 4)


def test_batches_go_below_one_another() -> None:
    first, second = squares(2), squares(3, start=5)
    both = EncodedMasks.concatenate([first, EncodedMasks.none(IMAGE_HW), second])
    expected = [columns_of(first, row) for row in range(2)]
    expected += [columns_of(second, row) for row in range(3)]
    assert [columns_of(both, row) for row in range(5)] == expected
    assert both.areas.dtype == both.prompt_index.dtype == np.int64
    assert both.boxes_xyxy.dtype == both.predicted_iou.dtype == np.float32


def test_batches_of_different_images_do_not_mix() -> None:
    with pytest.raises(ValueError, match="one image"):
        EncodedMasks.concatenate([EncodedMasks.none((3, 4)), EncodedMasks.none((4, 3))])
    with pytest.raises(ValueError, match="one image"):
        EncodedMasks.concatenate([])


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        replace(squares(2), areas=np.zeros(3, dtype=np.int64))
