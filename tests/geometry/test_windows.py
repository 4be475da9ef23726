"""Masks cut out of a window: the same, to the bit, as those of the whole image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.geometry.frames import Frame
from segloop.geometry.masks import mask_boxes, stability_score
from segloop.geometry.windows import WindowMask, cut_mask, window_above

FRAMES = [
    Frame((300, 200), 64, 16),  # magnified
    Frame((333, 500), 64, 16),
    Frame((20, 40), 64, 16),  # reduced
    Frame((17, 31), 128, 32),
    Frame((64, 48), 64, 16),  # as it is
    Frame((1, 1), 64, 16),
    Frame((200, 3000), 128, 32),
    Frame((3000, 200), 128, 32),
    Frame((1, 700), 64, 16),
    Frame((123, 77), 100, 16),  # sides that do not divide
    Frame((410, 600), 90, 28),
    Frame((250, 180), 96, 32),  # a factor that is no power of two
    Frame((150, 210), 16, 16),
    Frame((600, 450), 1024, 256),
]
frame_cases = pytest.mark.parametrize(
    "frame", FRAMES, ids=lambda f: f"{f.image_hw}-{f.input_size}-{f.logit_size}"
)


def smooth_logits(size: int, draw: np.random.Generator, level: float) -> np.ndarray:
    sigma = draw.uniform(0.3, size / 8)
    field = cv2.GaussianBlur(draw.standard_normal((size, size)).astype(np.float32), (0, 0), sigma)
    return (field / np.abs(field).max() * 4 + np.float32(level)).astype(np.float32)


def peak(frame: Frame, x: int, y: int, around: float = -20.0) -> np.ndarray:
    logits = np.full((frame.logit_size,) * 2, around, dtype=np.float32)
    logits[y, x] = 20.0
    return logits


def assert_same_as_the_whole(
    logits: np.ndarray, frame: Frame, threshold: float = 0.0, offset: float = 1.0
) -> WindowMask:
    whole = frame.logits_to_image(logits)
    mask = whole > threshold
    cut = cut_mask(logits, frame, threshold, offset)
    x0, y0, x1, y1 = cut.window_xyxy
    pasted = np.zeros(frame.image_hw, dtype=bool)
    assert cut.pixels.dtype == np.bool_
    assert cut.pixels.shape == (y1 - y0, x1 - x0)
    pasted[y0:y1, x0:x1] = cut.pixels
    np.testing.assert_array_equal(pasted, mask)
    assert cut.area == np.count_nonzero(mask)
    assert cut.box_xyxy == tuple(mask_boxes(mask[None])[0].tolist())
    expected = stability_score(whole[None], threshold, offset)[0]
    assert np.float32(cut.stability_score) == expected
    return cut


@frame_cases
def test_the_cut_is_the_mask_of_the_whole(frame: Frame) -> None:
    draw = np.random.default_rng(sum(frame.image_hw))
    for level in (-4.5, -3.5, -2.0, 0.0, 3.0, 6.0):
        for threshold in (0.0, 1.25):
            assert_same_as_the_whole(smooth_logits(frame.logit_size, draw, level), frame, threshold)


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from([(32, 8), (24, 8), (40, 8), (30, 8), (16, 16)]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([-4.5, -3.0, -1.0, 1.0]),
    st.sampled_from([0.0, -0.5, 2.0]),
    st.sampled_from([0.0, 0.5, 1.0, -1.0]),
)
@settings(deadline=None)
def test_any_cut_is_the_mask_of_the_whole(
    image_hw: tuple[int, int],
    sizes: tuple[int, int],
    seed: int,
    level: float,
    threshold: float,
    offset: float,
) -> None:
    logits = smooth_logits(sizes[1], np.random.default_rng(seed), level)
    assert_same_as_the_whole(logits, Frame(image_hw, *sizes), threshold, offset)


@frame_cases
def test_a_single_peak_spreads_to_its_neighbours_and_is_cut_whole(frame: Frame) -> None:
    content_height, content_width = frame.content_hw
    factor = frame.input_size / frame.logit_size
    last_x = min(int((content_width - 1) / factor), frame.logit_size - 1)
    last_y = min(int((content_height - 1) / factor), frame.logit_size - 1)
    for x, y in [(0, 0), (last_x, last_y), (last_x // 2, last_y // 2), (last_x, 0)]:
        # Just under the floor all around, so that the peak shows as far as bilinear steps carry it.
        cut = assert_same_as_the_whole(peak(frame, x, y, around=-0.01), frame, 0.0, 0.0)
        assert cut.area > 0 or frame.image_hw == (1, 1)  # which sees the middle alone


def test_the_window_of_a_small_thing_is_small() -> None:
    frame = Frame((1000, 1500), 256, 64)
    cut = cut_mask(peak(frame, 30, 20), frame)
    x0, y0, x1, y1 = cut.window_xyxy
    pixel = 1500 / 64
    assert x0 < 30 * pixel < 31 * pixel < x1
    assert y0 < 20 * pixel < 21 * pixel < y1
    assert x1 - x0 < 7 * pixel
    assert y1 - y0 < 7 * pixel


def test_pixels_between_the_outer_cut_and_the_mask_count_for_stability() -> None:
    frame = Frame((64, 64), 64, 16)
    logits = np.full((16, 16), -20.0, dtype=np.float32)
    logits[2:14, 2:14] = -0.5  # above the outer cut only
    logits[6:9, 6:9] = 5.0
    cut = assert_same_as_the_whole(logits, frame)
    assert 0 < cut.area < 300
    assert 0 < cut.stability_score < 0.2
    # What is said by default is what the stability of the whole says by default.
    slope = np.linspace(-3, 3, 256, dtype=np.float32).reshape(16, 16)
    by_default = cut_mask(slope, frame)
    whole = frame.logits_to_image(slope)
    assert np.float32(by_default.stability_score) == stability_score(whole[None])[0]
    assert by_default.area == np.count_nonzero(whole > 0)
    faint = cut_mask(np.minimum(logits, -0.5), frame)
    assert (faint.area, faint.stability_score, faint.box_xyxy) == (0, 0.0, (0, 0, 0, 0))


@frame_cases
def test_nothing_above_is_an_empty_mask(frame: Frame) -> None:
    # The floor itself is not above the floor.
    logits = np.full((frame.logit_size,) * 2, -1.0, dtype=np.float32)
    assert window_above(logits, frame, -1.0) is None
    cut = cut_mask(logits, frame)
    assert cut.pixels.size == 0
    assert cut.window_xyxy == cut.box_xyxy == (0, 0, 0, 0)
    assert (cut.area, cut.stability_score) == (0, 0.0)
    assert window_above(logits, frame, -1.01) == (0, 0, frame.image_hw[1], frame.image_hw[0])


@pytest.mark.parametrize("image_hw", [(200, 3000), (3000, 200), (20, 40), (40, 20)])
def test_what_rises_in_the_padding_only_is_an_empty_mask(image_hw: tuple[int, int]) -> None:
    frame = Frame(image_hw, 128, 32)
    logits = peak(frame, 31, 31)
    cut = cut_mask(logits, frame)
    assert cut.window_xyxy == cut.box_xyxy == (0, 0, 0, 0)
    assert (cut.area, cut.stability_score, cut.pixels.size) == (0, 0.0, 0)
    assert_same_as_the_whole(logits, frame)


def test_the_box_has_its_ends_on_the_last_pixels() -> None:
    pixels = np.zeros((5, 6), dtype=bool)
    pixels[1, 2] = pixels[3, 4] = True
    assert WindowMask((10, 20, 16, 25), pixels, 2, 1.0).box_xyxy == (12, 21, 14, 23)
    assert WindowMask((10, 20, 16, 25), np.zeros_like(pixels), 0, 0.0).box_xyxy == (0, 0, 0, 0)
