from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from segloop.errors import InputError
from segloop.evaluate.baselines import (
    evaluate_baselines,
    felzenszwalb_regions,
    filled_box,
    grabcut,
)
from segloop.evaluate.truth import Counts


@pytest.fixture
def disk() -> np.ndarray:
    canvas = np.zeros((70, 90), dtype=np.uint8)
    cv2.circle(canvas, (50, 36), 18, 1, -1)
    return canvas.astype(bool)


def painted(mask: np.ndarray, noise: float = 6.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = np.where(mask[..., None], (200, 70, 50), (40, 110, 60)) + rng.normal(
        0, noise, (*mask.shape, 3)
    )
    return image.clip(0, 255).astype(np.uint8)


def test_the_filled_box_holds_its_last_row_and_column():
    mask = filled_box(np.array([2, 1, 4, 3], dtype=np.float32), (6, 8))
    expected = np.zeros((6, 8), dtype=bool)
    expected[1:4, 2:5] = True
    np.testing.assert_array_equal(mask, expected)


def test_grabcut_finds_a_disk_in_its_box(disk):
    mask = grabcut(painted(disk), np.array([32, 18, 68, 54], dtype=np.float32))
    assert (mask & disk).sum() / (mask | disk).sum() > 0.95
    assert not mask[~filled_box(np.array([32, 18, 68, 54]), disk.shape)].any()


def test_grabcut_gives_the_same_answer_twice(disk):
    image, box = painted(disk, noise=40), np.array([30, 15, 70, 56], dtype=np.float32)
    np.testing.assert_array_equal(grabcut(image, box), grabcut(image, box))


def test_where_grabcut_finds_nothing_its_box_is_the_answer():
    image, box = np.full((70, 90, 3), 120, dtype=np.uint8), np.array([30, 15, 70, 56])
    np.testing.assert_array_equal(grabcut(image, box), filled_box(box, image.shape[:2]))


@pytest.mark.parametrize("box", [[0, 0, 89, 69], [10, 10, 10, 10], [89, 69, 89, 69]])
def test_grabcut_falls_back_on_the_box_or_stays_inside_it(disk, box):
    mask = grabcut(painted(disk), np.array(box, dtype=np.float32))
    inside = filled_box(np.array(box), disk.shape)
    assert mask.shape == disk.shape
    assert not mask[~inside].any()
    if inside.all():
        assert mask.all()


def test_felzenszwalb_parts_a_clean_picture_into_its_regions(disk):
    regions = felzenszwalb_regions(painted(disk))
    found = regions == regions[36, 50]
    assert (found & disk).sum() / (found | disk).sum() > 0.8


def test_a_missing_scikit_image_is_one_line_of_advice(disk, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(InputError, match=r"segloop\[evaluate\]"):
        felzenszwalb_regions(painted(disk))


def test_every_mask_is_scored_by_all_three(samples, disk, rectangle):
    square = rectangle(disk.shape, slice(5, 25), slice(4, 24))
    empty = np.zeros_like(disk)
    heard = []
    result = evaluate_baselines(
        samples([[disk, square, empty], [empty]]),
        name="drawn",
        progress=lambda done, total: heard.append((done, total)),
    )
    assert result.counts == Counts(num_images=2, num_masks=2, num_empty=2)
    assert heard == [(0, 2), (1, 2), (2, 2)]
    of_disk, of_square = result.scores
    assert of_disk.filled_box_iou == pytest.approx(disk.sum() / 37**2)
    assert of_square.filled_box_iou == 1.0
    assert of_disk.grabcut_iou > 0.95
    assert of_disk.felzenszwalb_iou > 0.7
    expected = (of_disk.filled_box_iou + of_square.filled_box_iou) / 2
    assert result.estimate("filled_box_iou").mean == pytest.approx(expected)


def test_the_masks_are_those_of_the_model_for_a_limit_and_seed(samples, scripted, disk):
    from segloop.evaluate.points import PointsProtocol, evaluate_points

    dataset = samples([[disk]] * 7)
    baselines = evaluate_baselines(dataset, name="drawn", limit=2, seed=9)
    model = evaluate_points(
        lambda: scripted(lambda prompt, output: (disk, 0.9)),
        dataset,
        name="drawn",
        protocol=PointsProtocol(limit=2, seed=9),
    )
    assert [score.image for score in baselines.scores] == [score.image for score in model.scores]
