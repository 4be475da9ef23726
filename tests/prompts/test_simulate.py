"""The simulator is the protocol: which pixel is clicked, with which label, and how a box is shaken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from segloop.prompts.simulate import (
    Click,
    center_click,
    center_error_click,
    noisy_box,
    open_box,
    random_click,
    random_error_click,
    truth_box,
    worn_or_grown,
)

MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))
PAIRS = arrays.array_shapes(min_dims=2, max_dims=2, max_side=12).flatmap(
    lambda shape: st.tuples(arrays.arrays(np.bool_, shape), arrays.arrays(np.bool_, shape))
)


def rectangle(hw: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(hw, dtype=bool)
    mask[rows, columns] = True
    return mask


def padded_distance(mask: np.ndarray) -> np.ndarray:
    return ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]


class TestCenterClick:
    def test_is_the_middle_of_a_rectangle_as_x_y(self):
        assert center_click(rectangle((20, 40), slice(4, 9), slice(21, 26))) == (23, 6)

    def test_takes_the_first_in_row_order_of_equal_pixels(self):
        # A 3 x 7 bar: the innermost pixels are a row of five, all at distance 2.
        assert center_click(rectangle((9, 9), slice(3, 6), slice(1, 8))) == (2, 4)

    def test_takes_the_thick_part_not_the_mean(self):
        mask = rectangle((30, 60), slice(10, 12), slice(0, 50))
        mask[5:16, 45:56] = True
        x, y = center_click(mask)
        assert (x, y) == (50, 10)

    def test_counts_the_border_of_the_image_as_a_boundary(self):
        # Half a square lies in the image; without the border's zeros the click would sit on column 0.
        assert center_click(rectangle((11, 20), slice(0, 11), slice(0, 5))) == (2, 2)

    @given(MASKS)
    def test_is_the_first_maximum_of_the_exact_distance(self, mask: np.ndarray):
        if not mask.any():
            return
        x, y = center_click(mask)
        distance = padded_distance(mask)
        assert distance[y, x] == pytest.approx(distance.max(), abs=1e-4)
        assert mask[y, x]


class TestCenterErrorClick:
    truth = rectangle((20, 20), slice(5, 15), slice(5, 15))

    def test_is_foreground_in_the_middle_of_what_is_missed(self):
        prediction = rectangle((20, 20), slice(5, 15), slice(5, 8))
        click = center_error_click(self.truth, prediction)
        assert click.is_foreground
        # The missed part is columns 8 to 14, rows 5 to 14.
        assert click.xy == (11, 8)

    def test_is_background_where_more_is_false_than_missed(self):
        prediction = self.truth.copy()
        prediction[0:5, 0:5] = True
        prediction[14, 5] = False
        click = center_error_click(self.truth, prediction)
        assert click == Click((2, 2), False)

    def test_compares_depth_and_not_area(self):
        truth = rectangle((20, 40), slice(0, 2), slice(0, 40))
        prediction = rectangle((20, 40), slice(10, 15), slice(10, 15))
        assert not center_error_click(truth, prediction).is_foreground

    def test_is_background_on_a_tie(self):
        truth = rectangle((10, 20), slice(2, 5), slice(2, 5))
        prediction = rectangle((10, 20), slice(2, 5), slice(12, 15))
        assert center_error_click(truth, prediction) == Click((13, 3), False)

    def test_never_clicks_a_pixel_twice(self):
        clicked = np.zeros((20, 20), dtype=bool)
        seen = set()
        for _ in range(100):
            click = center_error_click(self.truth, np.zeros_like(self.truth), clicked)
            assert click.is_foreground
            assert click.xy not in seen
            seen.add(click.xy)
            clicked[click.xy[1], click.xy[0]] = True
        assert clicked.sum() == 100
        assert (clicked == self.truth).all()

    def test_clicked_pixels_do_not_become_boundaries(self):
        clicked = np.zeros((20, 20), dtype=bool)
        first = center_error_click(self.truth, np.zeros_like(self.truth))
        clicked[first.xy[1], first.xy[0]] = True
        second = center_error_click(self.truth, np.zeros_like(self.truth), clicked)
        # The other three middle pixels of a 10 x 10 square are as deep as the first.
        assert max(abs(second.xy[0] - first.xy[0]), abs(second.xy[1] - first.xy[1])) == 1

    @given(PAIRS)
    def test_clicks_an_error_with_the_truth_as_label(self, pair: tuple[np.ndarray, np.ndarray]):
        truth, prediction = pair
        if (truth == prediction).all():
            return
        click = center_error_click(truth, prediction)
        x, y = click.xy
        assert truth[y, x] != prediction[y, x]
        assert click.is_foreground == truth[y, x]
        missed = padded_distance(truth & ~prediction).max()
        false = padded_distance(prediction & ~truth).max()
        assert click.is_foreground == (missed > false + 1e-6)


class TestRandomClicks:
    def test_first_click_falls_on_every_pixel_of_the_truth_and_no_other(self):
        truth = rectangle((6, 6), slice(1, 3), slice(2, 5))
        rng = np.random.default_rng(0)
        clicks = [random_click(truth, rng) for _ in range(600)]
        hits = np.zeros(truth.shape)
        for click in clicks:
            assert click.is_foreground
            hits[click.xy[1], click.xy[0]] += 1
        assert ((hits > 0) == truth).all()
        assert hits[truth].min() > 60

    def test_error_click_covers_missed_and_false_pixels_alike(self):
        truth = rectangle((6, 6), slice(0, 2), slice(0, 2))
        prediction = rectangle((6, 6), slice(1, 3), slice(1, 3))
        rng = np.random.default_rng(0)
        hits = np.zeros(truth.shape)
        for _ in range(600):
            click = random_error_click(truth, prediction, rng)
            x, y = click.xy
            assert click.is_foreground == truth[y, x]
            hits[y, x] += 1
        assert ((hits > 0) == (truth ^ prediction)).all()
        assert hits[truth ^ prediction].min() > 60

    def test_a_perfect_prediction_gets_a_background_click_outside(self):
        truth = rectangle((6, 6), slice(0, 3), slice(0, 6))
        click = random_error_click(truth, truth, np.random.default_rng(0))
        assert not click.is_foreground
        assert not truth[click.xy[1], click.xy[0]]

    def test_a_truth_without_background_gets_a_foreground_click(self):
        truth = np.ones((3, 3), dtype=bool)
        assert random_error_click(truth, truth, np.random.default_rng(0)).is_foreground

    def test_the_seed_decides(self):
        truth = rectangle((40, 40), slice(3, 33), slice(5, 25))
        first = [random_click(truth, np.random.default_rng(7)) for _ in range(3)]
        assert len(set(first)) == 1
        rng = np.random.default_rng(7)
        assert len({random_click(truth, rng) for _ in range(20)}) > 10


class TestBoxes:
    def test_truth_box_ends_on_the_last_pixels(self):
        mask = rectangle((20, 40), slice(4, 9), slice(21, 26))
        np.testing.assert_array_equal(truth_box(mask), [21, 4, 25, 8])

    def test_a_box_without_extent_is_opened_to_one_pixel(self):
        line = truth_box(rectangle((20, 40), slice(4, 5), slice(21, 26)))
        np.testing.assert_array_equal(open_box(line), [21, 4, 25, 5])
        np.testing.assert_array_equal(line, [21, 4, 25, 4])
        np.testing.assert_array_equal(open_box(np.array([1, 2, 9, 8])), [1, 2, 9, 8])

    def test_noise_is_a_tenth_of_the_sides(self):
        mask = rectangle((1000, 1000), slice(450, 551), slice(300, 501))
        rng = np.random.default_rng(0)
        shift = np.array([noisy_box(mask, rng) for _ in range(4000)]) - truth_box(mask)
        # Sides are 200 and 100; the clip at 20 px cuts the wider one at one standard deviation.
        assert np.abs(shift).max() == pytest.approx(20, abs=1e-3)
        np.testing.assert_allclose(shift.mean(axis=0), 0, atol=1.0)
        np.testing.assert_allclose(shift[:, [1, 3]].std(axis=0), 9.6, atol=0.5)
        at_limit = np.isclose(np.abs(shift[:, [0, 2]]), 20, atol=1e-3).mean()
        assert at_limit == pytest.approx(0.317, abs=0.03)

    @given(MASKS, st.integers(0, 2**32 - 1), st.floats(0, 3))
    def test_a_noisy_box_is_never_empty_nor_turned(self, mask: np.ndarray, seed: int, share: float):
        if not mask.any():
            return
        x0, y0, x1, y1 = noisy_box(mask, np.random.default_rng(seed), share=share)
        height, width = mask.shape
        assert 0 <= x0 < x1 <= max(width - 1, 1)
        assert 0 <= y0 < y1 <= max(height - 1, 1)
        assert min(x1 - x0, y1 - y0) > 0.999


class TestWornOrGrown:
    truth = rectangle((80, 80), slice(20, 60), slice(20, 60))

    def test_is_inside_or_around_the_truth_and_both_happen(self):
        rng = np.random.default_rng(0)
        kinds = set()
        for _ in range(20):
            rough = worn_or_grown(self.truth, rng)
            assert rough.dtype == np.bool_
            if rough.sum() < self.truth.sum():
                assert not (rough & ~self.truth).any()
                kinds.add("worn")
            else:
                assert not (self.truth & ~rough).any()
                kinds.add("grown")
        assert kinds == {"worn", "grown"}

    def test_the_radius_stays_below_its_share(self):
        rng = np.random.default_rng(1)
        for _ in range(30):
            box = truth_box(worn_or_grown(self.truth, rng, limit_share=0.15))
            assert np.abs(box - truth_box(self.truth)).max() <= 6

    def test_a_mask_too_thin_to_wear_is_grown(self):
        line = rectangle((20, 20), slice(10, 11), slice(2, 18))
        for seed in range(6):
            assert worn_or_grown(line, np.random.default_rng(seed)).sum() > line.sum()
