from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from segloop.backends.base import Embedding
from segloop.data.bsds import BoundarySample
from segloop.errors import InputError
from segloop.evaluate import edges as edges_module
from segloop.evaluate.edges import (
    EdgeConfig,
    boundary_gradient,
    evaluate_edges,
    evaluate_operator,
    find_edges,
    outer_boundary,
)
from segloop.geometry.frames import Frame
from segloop.geometry.masks import MaskBatch

HW = (64, 64)
LOGIT_SIZE = 64


class Drawn:
    """A predictor that answers every prompt with the same three maps of logits."""

    def __init__(self, logits: np.ndarray, predicted_iou: tuple[float, float, float]) -> None:
        self.logits = logits.astype(np.float32)
        self.predicted_iou = np.array(predicted_iou, dtype=np.float32)
        self.points: list[tuple[float, float]] = []

    def encode(self, image: np.ndarray) -> Embedding:
        frame = Frame(image.shape[:2], 256, LOGIT_SIZE)
        return Embedding(np.zeros((1, 1, 1), dtype=np.float32), frame, "drawn")

    def segment(self, embedding, prompts, *, outputs) -> MaskBatch:
        assert outputs == "three"
        self.points += [tuple(prompt._points[0]) for prompt in prompts]
        logits = np.concatenate([self.logits] * len(prompts))
        full = embedding.frame.logits_to_image(logits)
        count = len(prompts)
        return MaskBatch(
            masks=full > 0,
            predicted_iou=np.tile(self.predicted_iou, count),
            stability_score=np.ones(3 * count, dtype=np.float32),
            prompt_index=np.repeat(np.arange(count), 3),
            output_index=np.tile([1, 2, 3], count),
            logits=logits,
        )


def soft_square(start: int, stop: int) -> np.ndarray:
    """Logits that fall by 2 a pixel from the sides of a square outwards."""
    place = np.arange(LOGIT_SIZE)
    inside = np.minimum(place - start, stop - 1 - place) + 0.5
    return 2.0 * np.minimum.outer(inside, inside)


@pytest.fixture
def image() -> np.ndarray:
    return np.zeros((*HW, 3), dtype=np.uint8)


def test_the_outer_boundary_is_what_touches_from_outside() -> None:
    mask = np.zeros((5, 6), dtype=bool)
    mask[2, 2:4] = True
    expected = np.zeros((5, 6), dtype=bool)
    expected[1:4, 1:5] = True
    expected[2, 2:4] = False
    np.testing.assert_array_equal(outer_boundary(mask), expected)
    assert not outer_boundary(np.ones((3, 3), dtype=bool)).any()


def test_the_gradient_counts_on_the_outer_boundary_alone() -> None:
    logits = soft_square(20, 40).astype(np.float32)
    edges = boundary_gradient(logits)
    np.testing.assert_array_equal(edges > 0, outer_boundary(logits > 0))
    # Three probabilities across the left side, by Sobel: 4 times the difference of the outer ones.
    low, high = 1 / (1 + np.exp(3)), 1 / (1 + np.exp(-1))
    assert edges[30, 19] == pytest.approx(4 * (high - low), rel=1e-4)


def test_edges_are_the_strongest_of_all_masks_scaled_and_thinned(image: np.ndarray) -> None:
    logits = np.stack([soft_square(20, 40), soft_square(10, 54) / 2, np.full(HW, -1.0)])
    predictor = Drawn(logits, (0.9, 0.8, 0.7))
    edges = find_edges(predictor, image, EdgeConfig(points_per_side=2))
    assert edges[30, 19] == 1
    faint = edges[30, 9]
    assert 0.3 < faint < 0.7
    assert not edges[22:38, 22:38].any()
    assert predictor.points == [(16, 16), (48, 16), (16, 48), (48, 48)]


def test_of_masks_with_the_same_box_the_best_predicted_counts(image: np.ndarray) -> None:
    sharp, dull = 4 * soft_square(20, 40), soft_square(20, 41) / 4
    frame_of_all = soft_square(4, 60)
    for scores, expected in (((0.9, 0.2, 0.5), "sharp"), ((0.2, 0.9, 0.5), "dull")):
        predictor = Drawn(np.stack([sharp, dull, frame_of_all]), scores)
        edges = find_edges(predictor, image, EdgeConfig(points_per_side=1))
        # The sharp square ends at column 40, the dull one a pixel later.
        assert (edges[30, 40] > 0) == (expected == "sharp")
        assert (edges[30, 41] > 0) == (expected == "dull")


def test_no_mask_gives_no_edges(image: np.ndarray) -> None:
    predictor = Drawn(np.full((3, *HW), -5.0), (0.9, 0.9, 0.9))
    assert not find_edges(predictor, image, EdgeConfig(points_per_side=2)).any()


def test_the_papers_grid_has_256_points_and_stays_small(image: np.ndarray) -> None:
    predictor = Drawn(np.stack([soft_square(s, s + 20) for s in (10, 20, 30)]), (0.9, 0.8, 0.7))
    tracemalloc.start()
    find_edges(predictor, image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(predictor.points) == 256
    # The logits of 768 masks, once while they are joined and once as they came, and little else.
    assert peak < 3 * 768 * LOGIT_SIZE**2 * 4


@pytest.mark.parametrize("changes", [{"points_per_side": 0}, {"box_nms_threshold": 1.2}])
def test_settings_that_make_no_sense_are_refused(changes) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        EdgeConfig(**changes)


class Perfect:
    """A model that finds just what was drawn, or nothing."""

    def __init__(self, finds: bool) -> None:
        self.finds = finds


LARGE_HW = (160, 240)  # of which 2 pixels are within reach


def drawn_square() -> np.ndarray:
    """The outline of a square without its corners, which thinning would take."""
    boundaries = np.zeros((1, *LARGE_HW), dtype=bool)
    boundaries[0, 40, 41:99] = boundaries[0, 99, 41:99] = True
    boundaries[0, 41:99, 40] = boundaries[0, 41:99, 99] = True
    return boundaries


@dataclass(frozen=True)
class Drawings:
    """Three images of one square."""

    def __len__(self) -> int:
        return 3

    def read(self, index: int) -> BoundarySample:
        image = np.full((*LARGE_HW, 3), 50, dtype=np.uint8)
        image[40:100, 40:100] = 200
        return BoundarySample(f"{index}", image, drawn_square())


@pytest.mark.parametrize(("finds", "expected"), [(True, 1.0), (False, 0.0)])
def test_a_perfect_map_scores_one_and_an_empty_one_nothing(
    finds: bool, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(model: Perfect, image: np.ndarray, config: EdgeConfig) -> np.ndarray:
        assert image.shape == (*LARGE_HW, 3)
        return drawn_square()[0].astype(np.float32) * model.finds

    monkeypatch.setattr(edges_module, "find_edges", find)
    result = evaluate_edges(lambda: Perfect(finds), Drawings(), name="drawn", model="perfect")
    assert result.summary.num_images == 3
    assert result.summary.ods.f == expected
    assert result.summary.ois.f == expected


@pytest.mark.parametrize("operator", ["Sobel", "Canny"])
def test_an_operator_finds_a_square(operator) -> None:
    result = evaluate_operator(Drawings(), name="drawn", operator=operator, limit=2, seed=1)
    assert result.finder == operator
    assert len(result.images) == 2
    assert result.summary.ods.f > 0.95


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_damaged_model_is_refused_and_draws_no_edges(image: np.ndarray, value: float) -> None:
    logits = np.stack([soft_square(20, 40)] * 3)
    config = EdgeConfig(points_per_side=1)
    with pytest.raises(InputError, match="a predicted IoU is no number"):
        find_edges(Drawn(logits, (0.9, value, 0.7)), image, config)
    logits[2, 0, 0] = value
    with pytest.raises(InputError, match="a logit is no number"):
        find_edges(Drawn(logits, (0.9, 0.8, 0.7)), image, config)
    with pytest.raises(InputError, match="a logit is no number"):
        find_edges(Drawn(np.full((3, *HW), -value), (0.9, 0.8, 0.7)), image, config)
