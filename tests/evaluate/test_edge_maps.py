from __future__ import annotations

import numpy as np
import pytest

from segloop.evaluate.edge_maps import (
    canny_edges,
    gradient,
    scale_to_one,
    sobel_edges,
    thin_edges,
)

HW = (48, 64)


@pytest.fixture
def ridge() -> np.ndarray:
    """A vertical edge that is soft: largest in column 30."""
    columns = np.arange(HW[1], dtype=np.float32)
    return np.tile(np.exp(-(((columns - 30) / 3) ** 2)), (HW[0], 1)).astype(np.float32)


@pytest.fixture
def square() -> np.ndarray:
    image = np.full((*HW, 3), 40, dtype=np.uint8)
    image[15:33, 20:44] = 200
    return image


@pytest.mark.parametrize("is_transposed", [False, True])
def test_only_the_crest_of_a_ridge_stays(ridge: np.ndarray, is_transposed: bool) -> None:
    edges = ridge.T.copy() if is_transposed else ridge
    thin = thin_edges(edges)
    thin = thin.T if is_transposed else thin
    inner = thin[6:-6]
    assert (inner[:, 30] == 1).all()
    others = np.delete(inner, 30, axis=1)
    # Far away the ridge is flat, and flat is not suppressed; near it all is.
    assert (others[:, 22:38] == 0).all()


def test_a_slanted_ridge_keeps_its_crest() -> None:
    rows, columns = np.mgrid[0:60, 0:60]
    off = (columns - rows) / np.sqrt(2)
    thin = thin_edges(np.exp(-((off / 3) ** 2)).astype(np.float32))
    inner, off = thin[10:50, 10:50], off[10:50, 10:50]
    assert (inner[off == 0] == 1).all()
    assert (inner[(np.abs(off) > 0.8) & (np.abs(off) < 6)] == 0).all()


def test_edges_fade_at_the_border_of_the_image(ridge: np.ndarray) -> None:
    crest = thin_edges(ridge)[:, 30]
    np.testing.assert_allclose(crest[:6], [0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-6)
    np.testing.assert_allclose(crest[::-1][:6], [0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-6)


def test_scaling_reaches_from_nothing_to_one() -> None:
    scaled = scale_to_one(np.array([[2, 3], [4, 6]], dtype=np.float32))
    np.testing.assert_allclose(scaled, [[0, 0.25], [0.5, 1]])
    assert scaled.dtype == np.float32
    assert not scale_to_one(np.full((2, 2), 5, dtype=np.float32)).any()


def test_the_gradient_of_a_slope_is_its_steepness() -> None:
    columns = np.tile(np.arange(10, dtype=np.float32), (10, 1))
    np.testing.assert_allclose(gradient(3 * columns)[1:-1, 1:-1], 24)
    np.testing.assert_allclose(gradient(3 * columns + 4 * columns.T)[1:-1, 1:-1], 40)


@pytest.mark.parametrize("edges_of", [sobel_edges, canny_edges])
def test_the_outline_of_a_square_is_found_and_nothing_else(edges_of, square: np.ndarray) -> None:
    edges = edges_of(square)
    assert edges.dtype == np.float32
    assert edges.shape == HW
    near = np.zeros(HW, dtype=bool)
    near[12:36, 17:47] = True
    near[18:30, 23:41] = False
    assert not edges[~near].any()
    for row in range(18, 30):
        assert edges[row, 17:23].max() > 0.9
        assert edges[row, 41:47].max() > 0.9


def test_canny_keeps_a_weak_edge_only_with_a_strong_one_it_hangs_on() -> None:
    image = np.full((*HW, 3), 100, dtype=np.uint8)
    # One long step that is strong at the left and weak at the right, and a weak one for itself.
    image[24:, :32] = 220
    image[24:, 32:] = 165
    image[:8, 50:] = 165
    edges = canny_edges(image)
    strong, weak = edges[22:26, 10].max(), edges[22:26, 55].max()
    alone = edges[3, 47:53].max()
    assert strong == pytest.approx(0.99)
    assert weak == pytest.approx(0.99)
    assert 0.3 < alone < 0.7


@pytest.mark.parametrize("edges_of", [sobel_edges, canny_edges])
def test_an_image_of_one_colour_has_no_edges(edges_of) -> None:
    assert not edges_of(np.full((*HW, 3), 90, dtype=np.uint8)).any()
