from __future__ import annotations

import numpy as np
import pytest

from segloop.data.augment import (
    LARGE_SCALE_JITTER,
    NO_AUGMENTATION,
    Augmentation,
    View,
    change_color,
    choose_view,
    whole_window,
    zoom_window,
)

ALWAYS = Augmentation(zoom=1.0, crop_low=1.2, crop_high=6.0)


def test_nothing_happens_by_default() -> None:
    assert (NO_AUGMENTATION.zoom, NO_AUGMENTATION.flip, NO_AUGMENTATION.color) == (0, 0, 0)
    assert whole_window((30, 40)) == (0, 0, 40, 30)


@pytest.mark.parametrize("seed", range(40))
def test_a_zoom_lies_in_the_image_and_holds_its_object(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, height = (int(value) for value in rng.integers(60, 300, 2))
    box_width, box_height = (int(value) for value in rng.integers(2, 30, 2))
    x, y = int(rng.integers(width - box_width + 1)), int(rng.integers(height - box_height + 1))

    x0, y0, x1, y1 = zoom_window((x, y, box_width, box_height), (height, width), ALWAYS, rng)
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    if x1 - x0 >= box_width:
        assert x0 <= x
        assert x + box_width <= x1
    if y1 - y0 >= box_height:
        assert y0 <= y
        assert y + box_height <= y1


def test_sides_of_zooms_spread_over_the_asked_range() -> None:
    rng = np.random.default_rng(0)
    augmentation = Augmentation(crop_low=2.0, crop_high=4.0)
    windows = [zoom_window((500, 500, 50, 50), (1000, 1000), augmentation, rng) for _ in range(500)]
    sides = np.array([((x1 - x0) * (y1 - y0)) ** 0.5 / 50 for x0, y0, x1, y1 in windows])
    assert sides.min() == pytest.approx(2.0, abs=0.1)
    assert sides.max() == pytest.approx(4.0, abs=0.1)
    assert len({window[0] for window in windows}) > 50


def test_a_box_larger_than_the_zoom_is_seen_in_part() -> None:
    rng = np.random.default_rng(3)
    narrow = Augmentation(crop_low=0.25, crop_high=0.25)
    for _ in range(50):
        x0, _, x1, _ = zoom_window((10, 10, 200, 200), (400, 400), narrow, rng)
        assert x0 >= 10
        assert x1 <= 210


@pytest.mark.parametrize("box", [(-9.0, -4.0, 30.0, 20.0), (90.0, 45.0, 40.0, 40.0)])
def test_a_box_over_the_border_still_gives_a_window_inside(
    box: tuple[float, float, float, float],
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        x0, y0, x1, y1 = zoom_window(box, (60, 100), ALWAYS, rng)
        assert 0 <= x0 < x1 <= 100
        assert 0 <= y0 < y1 <= 60


def test_colour_of_strength_zero_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    changed = change_color(image, 0.0, np.random.default_rng(1))
    assert changed.dtype == np.uint8
    assert np.abs(changed.astype(int) - image).max() <= 1


def test_colour_factors_stay_within_the_strength() -> None:
    """On a flat grey picture only brightness shows."""
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    values = [
        int(change_color(image, 0.4, np.random.default_rng(seed))[0, 0, 0]) for seed in range(300)
    ]
    assert min(values) >= 59
    assert max(values) <= 140
    assert min(values) < 65
    assert max(values) > 135


def test_colour_is_clipped_not_wrapped() -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[:2] = 255
    for seed in range(50):
        changed = change_color(image, 0.9, np.random.default_rng(seed))
        assert changed[0].min() >= changed[3].max()


def test_a_grey_picture_stays_grey() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (9, 9, 1)).astype(np.uint8)
    changed = change_color(np.repeat(grey, 3, axis=2), 0.4, np.random.default_rng(2))
    assert np.abs(changed.astype(int) - changed[..., :1]).max() <= 1


def views(
    augmentation: Augmentation, image_hw: tuple[int, int], input_size: int, count: int = 300
) -> list[View]:
    rng = np.random.default_rng(0)
    boxes = [(30.0, 20.0, 10.0, 10.0)]
    return [choose_view(boxes, image_hw, input_size, augmentation, rng) for _ in range(count)]


def test_jitter_scales_the_long_side_evenly_and_cuts_what_is_more() -> None:
    scales, places = [], set()
    for view in views(LARGE_SCALE_JITTER, (300, 400), 128, 2000):
        x0, y0, x1, y1 = view.window
        assert 0 <= x0 < x1 <= 400
        assert 0 <= y0 < y1 <= 300
        if view.filled < 1.0:
            assert view.window == (0, 0, 400, 300)
            scales.append(view.filled)
        else:
            assert y1 - y0 == min(300, x1 - x0)
            scales.append(400 / (x1 - x0))
            places.add((x0, y0))
    assert (min(scales), max(scales)) == pytest.approx((0.1, 2.0), abs=0.01)
    assert np.mean(scales) == pytest.approx(1.05, abs=0.04)
    assert len(places) > 500


def test_only_images_larger_than_the_input_are_cropped_at_their_own_resolution() -> None:
    always = Augmentation(large=1.0)
    for view in views(always, (90, 400), 128):
        x0, y0, x1, y1 = view.window
        assert (x1 - x0, y1 - y0, y0, view.filled) == (128, 90, 0, 1.0)
        assert 0 <= x0 <= 272
    assert set(views(always, (90, 128), 128)) == {View((0, 0, 128, 90))}
    share = np.mean([v.window[2] < 400 for v in views(Augmentation(large=0.3), (90, 400), 128)])
    assert share == pytest.approx(0.35, abs=0.1)


def test_without_changes_the_whole_is_seen() -> None:
    assert set(views(NO_AUGMENTATION, (300, 400), 128)) == {View((0, 0, 400, 300))}
