from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import morphology

from segloop.evaluate.thinning import thin


@given(st.integers(0, 10_000), st.floats(0, 1), st.booleans())
def test_it_thins_as_scikit_image_does(seed: int, share: float, is_smooth: bool) -> None:
    draw = np.random.default_rng(seed)
    mask = draw.random((23, 31)) < share
    if is_smooth:
        mask = np.kron(mask[:6, :8], np.ones((4, 4), dtype=bool))
    np.testing.assert_array_equal(thin(mask), morphology.thin(mask))


def test_a_bar_becomes_the_line_in_its_middle() -> None:
    mask = np.zeros((9, 20), dtype=bool)
    mask[3:6, 2:18] = True
    line = np.argwhere(thin(mask))
    assert set(line[:, 0]) == {4}
    assert len(line) >= 12


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1)])
def test_a_line_stays_as_it_is(shape: tuple[int, int]) -> None:
    line = np.ones(shape, dtype=bool)
    np.testing.assert_array_equal(thin(line), line)
    assert not thin(~line).any()


def test_what_is_thin_stays_thin() -> None:
    draw = np.random.default_rng(3)
    once = thin(draw.random((40, 40)) < 0.7)
    np.testing.assert_array_equal(thin(once), once)
