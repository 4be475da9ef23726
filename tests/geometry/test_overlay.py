from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray
from segloop.geometry.overlay import (
    cut_out,
    draw_encoded,
    draw_masks,
    draw_prompt,
    line_width_px,
    mask_color,
)

GREY = np.full((120, 160, 3), 128, dtype=np.uint8)


def disc(center_xy: tuple[float, float] = (80.0, 60.0), radius: float = 40.0) -> np.ndarray:
    rows, columns = np.mgrid[:120, :160]
    return np.hypot(columns - center_xy[0], rows - center_xy[1]) < radius


def test_colors_are_stable_and_neighbours_differ() -> None:
    colors = [mask_color(index) for index in range(60)]
    assert colors == [mask_color(index) for index in range(60)]
    assert len(set(colors)) == 60
    assert all(0 <= channel <= 255 for color in colors for channel in color)
    for first, second in pairwise(colors):
        assert np.abs(np.subtract(first, second)).max() > 40


def test_overlay_tints_the_mask_dims_the_rest_and_leaves_the_picture_alone() -> None:
    image = GREY.copy()
    drawn = draw_masks(image, disc()[None])
    assert np.array_equal(image, GREY)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    toward_color = np.sign(np.subtract(mask_color(0), 128))
    assert np.array_equal(np.sign(drawn[60, 80].astype(int) - 128), toward_color)
    assert (drawn[2, 2] < 128).all()


def test_outline_is_light_continuous_and_antialiased() -> None:
    drawn = draw_masks(GREY, disc()[None])
    brightness = drawn.astype(int).sum(axis=2)
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    on_edge = [
        max(
            brightness[round(60 + r * np.sin(angle)), round(80 + r * np.cos(angle))]
            for r in (39.0, 39.7, 40.4)
        )
        for angle in angles
    ]
    assert min(on_edge) > 128 * 3 + 60
    assert len(np.unique(brightness)) > 20


def test_no_outline_where_a_mask_leaves_the_picture() -> None:
    drawn = draw_masks(GREY, np.ones((1, 120, 160), dtype=bool))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 1


def test_encoded_masks_are_drawn_as_plain_ones_are(
    encode_masks: Callable[[BoolArray], EncodedMasks],
) -> None:
    masks = np.stack([disc(), disc((20, 20), 15), disc((150, 60), 30), np.zeros_like(disc())])
    drawn = draw_encoded(GREY, encode_masks(masks))
    np.testing.assert_array_equal(drawn, draw_masks(GREY, masks))
    empty = EncodedMasks.none((120, 160))
    np.testing.assert_array_equal(draw_encoded(GREY, empty), GREY)


def test_a_large_picture_is_shrunk_for_its_overlay(
    encode_masks: Callable[[BoolArray], EncodedMasks],
) -> None:
    masks = encode_masks(np.stack([disc(), disc((3, 3), 1)]))
    drawn = draw_encoded(GREY, masks, max_side=40)
    assert drawn.shape == (30, 40, 3)
    toward_color = np.sign(np.subtract(mask_color(0), 128))
    assert np.array_equal(np.sign(drawn[15, 20].astype(int) - 128), toward_color)
    with pytest.raises(ValueError, match="the image is"):
        draw_encoded(GREY[:-1], masks)


def test_a_long_strip_keeps_a_pixel_of_height(
    encode_masks: Callable[[BoolArray], EncodedMasks],
) -> None:
    strip = np.full((1, 500, 3), 90, dtype=np.uint8)
    masks = encode_masks(np.ones((1, 1, 500), dtype=np.bool_))
    assert draw_encoded(strip, masks, max_side=100).shape == (1, 100, 3)


def test_small_masks_lie_on_large_ones() -> None:
    small, large = disc(radius=15), disc(radius=45)
    first = draw_masks(GREY, np.stack([small, large]))
    assert first[60, 80, 0] != draw_masks(GREY, large[None], first_color=1)[60, 80, 0]
    lone = draw_masks(GREY, large[None], first_color=1)
    assert np.array_equal(first[60, 110], lone[60, 110])


def test_no_mask_and_an_empty_mask_draw_nothing() -> None:
    assert np.array_equal(draw_masks(GREY, np.zeros((0, 120, 160), dtype=bool)), GREY)
    dimmed = draw_masks(GREY, np.zeros((1, 120, 160), dtype=bool))
    assert len(np.unique(dimmed)) == 1


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_tiny_and_elongated_pictures(image_hw: tuple[int, int]) -> None:
    image = np.full((*image_hw, 3), 90, dtype=np.uint8)
    mask = np.zeros(image_hw, dtype=bool)
    mask[0, 0] = True
    assert draw_masks(image, mask[None]).shape == image.shape
    assert draw_prompt(image, [(0, 0)], [1], (0, 0, 1, 1)).shape == image.shape
    assert cut_out(image, mask)[0, 0, 3] >= 128


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="masks are"):
        draw_masks(GREY, np.ones((1, 10, 10), dtype=bool))
    with pytest.raises(ValueError, match="mask is"):
        cut_out(GREY, np.ones((10, 10), dtype=bool))


def test_points_are_green_or_red_with_a_white_ring_and_a_sign() -> None:
    drawn = draw_prompt(GREY, [(40, 60), (120, 60)], [1, 0]).astype(int)
    plus, minus = drawn[60, 40], drawn[60, 120]
    assert (plus > 240).all()
    assert (minus > 240).all()
    inside = [drawn[57, 43], drawn[57, 123]]
    assert inside[0][1] > inside[0][0] + 60
    assert inside[1][0] > inside[1][1] + 60
    assert (drawn[57, 40] > 200).all()
    assert drawn[57, 120][0] > drawn[57, 120][1] + 60


def test_box_is_drawn_where_it_is() -> None:
    drawn = draw_prompt(GREY, box_xyxy=(30, 20, 130, 100)).astype(int)
    for x, y in ((30, 60), (130, 60), (80, 20), (80, 100)):
        assert (drawn[y, x] > 220).all()
    assert np.array_equal(drawn[60, 80], GREY[60, 80])
    assert np.array_equal(drawn[5, 5], GREY[5, 5])


def test_a_prompt_outside_the_picture_does_no_harm() -> None:
    drawn = draw_prompt(GREY, [(-1e9, 1e9)], [1], (-50, -50, 5000, 5000))
    assert np.array_equal(drawn, GREY)


def test_lines_grow_with_the_picture() -> None:
    assert line_width_px((3000, 4000)) > 4 * line_width_px((300, 400)) > 0
    assert line_width_px((1, 1)) >= 1


def test_cut_out_agrees_with_the_mask_and_hides_the_background() -> None:
    image = np.random.default_rng(0).integers(1, 255, (120, 160, 3), dtype=np.uint8)
    mask = disc()
    cut = cut_out(image, mask)
    alpha = cut[..., 3]
    assert np.array_equal(alpha >= 128, mask)
    assert alpha[60, 80] == 255
    assert alpha[0, 0] == 0
    assert not cut[alpha == 0].any()
    assert np.array_equal(cut[alpha > 0, :3], image[alpha > 0])
    soft = (alpha > 0) & (alpha < 255)
    assert 0 < soft.sum() < 4 * 2 * np.pi * 40


def test_cut_out_of_a_mask_finer_than_its_logits_follows_the_mask() -> None:
    mask = np.zeros((120, 160), dtype=bool)
    mask[50:60, 50:60] = True
    coarse = np.where(np.roll(mask, 8, axis=1), 5.0, -5.0).astype(np.float32)
    assert np.array_equal(cut_out(GREY, mask, coarse), cut_out(GREY, mask))


def test_cut_out_takes_its_edge_from_logits() -> None:
    rows, columns = np.mgrid[:120, :160]
    logits = (0.05 * (40.25 - np.hypot(columns - 80, rows - 60))).astype(np.float32)
    alpha = cut_out(GREY, logits > 0, logits)[..., 3]
    assert np.array_equal(alpha >= 128, logits > 0)
    # The edge crosses pixel 120 a quarter of a pixel beyond its centre: three quarters of it are covered.
    assert alpha[60, 120] == pytest.approx(0.75 * 255, abs=12)
    assert alpha[60, 117] == 255
    assert alpha[60, 123] == 0


def test_an_empty_mask_cuts_out_nothing() -> None:
    assert not cut_out(GREY, np.zeros((120, 160), dtype=bool)).any()
    assert not cut_out(
        GREY, np.zeros((120, 160), dtype=bool), np.full((120, 160), -0.0, np.float32)
    ).any()


def test_a_line_one_pixel_wide_stays_visible() -> None:
    mask = np.zeros((120, 160), dtype=bool)
    mask[60, 20:140] = True
    assert (cut_out(GREY, mask)[60, 20:140, 3] >= 128).all()
