"""The three frames: shared cases, and what must hold for any size."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segloop.geometry.frames import Frame

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "frames.json").read_text())

sides = st.integers(1, 5000)
frames = st.builds(
    lambda height, width, grid: Frame((height, width), 8 * grid, 4 * grid),
    sides,
    sides,
    st.sampled_from([8, 32, 64]),
)
shares = st.floats(0, 1, width=32)


@pytest.mark.parametrize("case", VECTORS["frames"], ids=lambda case: str(case["image_hw"]))
def test_points_agree_with_the_shared_cases(case: dict) -> None:
    frame = Frame(tuple(case["image_hw"]), case["input_size"], case["logit_size"])
    assert frame.content_hw == tuple(case["content_hw"])
    image = np.array([point["image_xy"] for point in case["points"]])
    expected = np.array([point["input_xy"] for point in case["points"]])
    np.testing.assert_allclose(frame.points_to_input(image), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(frame.points_to_image(expected), image, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", VECTORS["logits_to_image"], ids=lambda case: str(case["image_hw"]))
def test_logits_agree_with_the_shared_cases(case: dict) -> None:
    frame = Frame(tuple(case["image_hw"]), case["input_size"], case["logit_size"])
    restored = frame.logits_to_image(np.array(case["logits"], dtype=np.float32))
    np.testing.assert_allclose(restored, case["image"], atol=1e-4)


@given(frames)
@settings(deadline=None)
def test_content_fills_the_long_side_and_never_vanishes(frame: Frame) -> None:
    assert max(frame.content_hw) == frame.input_size
    assert min(frame.content_hw) >= 1


@given(frames, shares, shares)
@settings(deadline=None)
def test_points_come_back(frame: Frame, x_share: float, y_share: float) -> None:
    height, width = frame.image_hw
    point = np.array([[x_share * width, y_share * height]])
    inside = frame.points_to_input(point)
    content_height, content_width = frame.content_hw
    assert (inside >= 0).all()
    assert (inside <= np.array([content_width, content_height]) * (1 + 1e-6)).all()
    np.testing.assert_allclose(frame.points_to_image(inside), point, rtol=1e-5, atol=1e-5)


@given(frames, st.lists(shares, min_size=4, max_size=4))
@settings(deadline=None)
def test_a_box_moves_as_its_corners_do(frame: Frame, numbers: list[float]) -> None:
    height, width = frame.image_hw
    box = np.array(numbers) * [width, height, width, height]
    corners = frame.points_to_input(box.reshape(2, 2))
    np.testing.assert_array_equal(frame.boxes_to_input(box[None])[0], corners.reshape(4))


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 5000), (5000, 1), (33, 50), (700, 512)])
def test_a_flat_field_stays_flat_at_every_size(image_hw: tuple[int, int]) -> None:
    frame = Frame(image_hw, 64, 32)
    restored = frame.logits_to_image(np.full((2, 3, 32, 32), 1.5, dtype=np.float32))
    assert restored.shape == (2, 3, *image_hw)
    np.testing.assert_allclose(restored, 1.5, atol=1e-6)


def test_padding_of_the_logits_does_not_reach_the_image() -> None:
    frame = Frame((20, 40), 64, 16)
    logits = np.ones((16, 16), dtype=np.float32)
    logits[9:] = -1000.0  # beyond the content, whose lower edge is row 8
    assert frame.logits_to_image(logits)[:16].min() == pytest.approx(1.0)


RESIZED = [
    Frame((300, 200), 64, 16),
    Frame((700, 900), 64, 16),  # in several bands
    Frame((20, 40), 64, 16),
    Frame((64, 40), 64, 16),
    Frame((32, 32), 64, 16),
    Frame((1, 1), 64, 16),
    Frame((200, 3000), 128, 32),
    Frame((3000, 200), 128, 32),
    Frame((120, 77), 100, 16),
    Frame((250, 180), 96, 32),
]
resized_cases = pytest.mark.parametrize(
    "frame", RESIZED, ids=lambda f: f"{f.image_hw}-{f.input_size}-{f.logit_size}"
)


def random_logits(size: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 1.0)


@resized_cases
def test_logits_go_through_two_plain_resizes(frame: Frame) -> None:
    logits = random_logits(frame.logit_size, 0)
    square = cv2.resize(logits, (frame.input_size,) * 2, interpolation=cv2.INTER_LINEAR)
    height, width = frame.content_hw
    content = np.ascontiguousarray(square[:height, :width])
    expected = cv2.resize(content, frame.image_hw[::-1], interpolation=cv2.INTER_LINEAR)
    restored = frame.logits_to_image(logits)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, expected, rtol=0, atol=1e-5)


@given(
    st.tuples(st.integers(1, 100), st.integers(1, 100)),
    st.sampled_from([(32, 8), (24, 8), (40, 8), (56, 8), (30, 8), (16, 16), (64, 64)]),
    st.integers(0, 2**32 - 1),
    st.tuples(shares, shares, shares, shares),
)
@settings(deadline=None, max_examples=200)
def test_a_window_is_that_part_of_the_image_to_the_bit(
    image_hw: tuple[int, int],
    sizes: tuple[int, int],
    seed: int,
    places: tuple[float, float, float, float],
) -> None:
    frame, logits = Frame(image_hw, *sizes), random_logits(sizes[1], seed)
    height, width = image_hw
    x0, x1 = sorted(int(place * (width - 1)) for place in places[:2])
    y0, y1 = sorted(int(place * (height - 1)) for place in places[2:])
    part = frame.logits_in_window(logits, (x0, y0, x1 + 1, y1 + 1))
    expected = frame.logits_to_image(logits)[y0 : y1 + 1, x0 : x1 + 1]
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, expected)


@resized_cases
def test_windows_of_all_kinds_are_parts_of_the_image(frame: Frame) -> None:
    logits = random_logits(frame.logit_size, 1)
    whole = frame.logits_to_image(logits)
    height, width = frame.image_hw
    middle_x, middle_y = width // 2, height // 2
    for x0, y0, x1, y1 in [
        (0, 0, width, height),
        (0, 0, 1, 1),
        (0, height - 1, width, height),
        (width - 1, height - 1, width, height),
        (middle_x, 0, middle_x + 1, height),
        (0, middle_y, width, middle_y + 1),
        (width // 3, height // 3, middle_x + 1, middle_y + 1),
    ]:
        part = frame.logits_in_window(logits, (x0, y0, x1, y1))
        np.testing.assert_array_equal(part, whole[y0:y1, x0:x1])


def test_logits_of_another_size_are_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="this frame wants"):
        Frame((20, 40), 64, 16).logits_to_image(np.zeros((8, 8), dtype=np.float32))


@pytest.mark.parametrize("image_hw", [(0, 5), (5, 0), (-1, 5)])
def test_an_empty_image_has_no_frame(image_hw: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Frame(image_hw, 64, 16)


@pytest.mark.parametrize("image_hw", [(300, 200), (48, 64), (1, 64), (37, 1000)])
def test_a_full_mask_covers_the_content_and_only_that(image_hw: tuple[int, int]) -> None:
    frame = Frame(image_hw, 64, 16)
    covered = frame.mask_to_logit(np.ones(image_hw, dtype=bool))
    height, width = (side / 4 for side in frame.content_hw)
    expected = np.outer(np.clip(height - np.arange(16), 0, 1), np.clip(width - np.arange(16), 0, 1))
    np.testing.assert_allclose(covered, expected, atol=1e-5)


def test_shrinking_a_mask_takes_the_mean_of_what_each_logit_pixel_covers() -> None:
    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    covered = Frame((64, 64), 32, 8).mask_to_logit(mask)
    np.testing.assert_allclose(covered, mask.reshape(8, 8, 8, 8).mean(axis=(1, 3)), atol=1e-6)


@pytest.mark.parametrize("image_hw", [(200, 300), (90, 61), (40, 40)])
def test_a_mask_survives_the_way_to_the_logits_and_back(image_hw: tuple[int, int]) -> None:
    frame = Frame(image_hw, 64, 32)
    y, x = np.mgrid[: image_hw[0], : image_hw[1]]
    mask = np.hypot(y / image_hw[0] - 0.5, x / image_hw[1] - 0.5) < 0.3
    restored = frame.logits_to_image(2 * frame.mask_to_logit(mask) - 1) > 0
    assert (mask & restored).sum() / (mask | restored).sum() > 0.95


def test_a_mask_of_another_image_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="the image is"):
        Frame((20, 40), 64, 16).mask_to_logit(np.ones((40, 20), dtype=bool))
