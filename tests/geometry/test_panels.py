from __future__ import annotations

import numpy as np
import pytest

from segloop.geometry.overlay import mask_color
from segloop.geometry.panels import (
    CAPTION_PX,
    GAP_PX,
    TRUE,
    View,
    frame_panels,
    stack_panels,
    write_caption,
)

SIZE_HW = (300, 400)


def square(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE_HW, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def image() -> np.ndarray:
    return np.full((*SIZE_HW, 3), 128, dtype=np.uint8)


@pytest.mark.parametrize(
    ("around", "window"),
    [
        (square(180, 130, 220, 170), (150, 100, 250, 200)),  # 2.5 times as wide
        (square(200, 150, 201, 151), (168, 118, 232, 182)),  # never closer than 64 pixels
        (square(0, 0, 40, 40), (0, 0, 100, 100)),  # moved into the image
        (square(0, 0, 400, 300), (0, 0, 400, 300)),
    ],
)
def test_a_view_is_around_its_object(
    image: np.ndarray, around: np.ndarray, window: tuple[int, int, int, int]
) -> None:
    view = View(image, around, 120)
    assert view.window == window
    width, height = window[2] - window[0], window[3] - window[1]
    assert view.size_hw == (round(120 * height / max(width, height)), 120)


def test_a_mask_and_its_prompt_lie_where_they_are_in_the_image(image: np.ndarray) -> None:
    mask = square(180, 130, 220, 170)
    view = View(image, mask, 200)
    plain = view.draw(mask, "", color=TRUE).astype(int)
    assert plain.shape == (200 + CAPTION_PX, 200, 3)
    # Enlarged twice: the mask is the 80 x 80 pixels in the middle.
    colored = (plain[:200].max(axis=2) - plain[:200].min(axis=2)) > 20
    rows, columns = np.nonzero(colored)
    assert (rows.min(), columns.min()) == pytest.approx((60, 60), abs=3)
    assert (rows.max(), columns.max()) == pytest.approx((139, 139), abs=3)
    expected = np.array([128] * 3) + 0.42 * (np.array(mask_color(TRUE)) - 128)
    np.testing.assert_allclose(plain[100, 100], expected, atol=3)
    clicked = view.draw(mask, "", points_xy=[(190, 140)], labels=[0]).astype(int)
    changed = np.abs(clicked - view.draw(mask, "")).max(axis=2) > 20
    rows, columns = np.nonzero(changed)
    assert (rows.mean(), columns.mean()) == pytest.approx((80.5, 80.5), abs=1)
    boxed = view.draw(mask, "", box_xyxy=(160, 110, 240, 190)).astype(int)
    changed = np.abs(boxed - view.draw(mask, "")).max(axis=2) > 20
    assert np.flatnonzero(changed[:200].any(axis=1)).min() == pytest.approx(20, abs=3)
    assert not changed[100, 60:140].any()
    assert (image == 128).all()


def test_a_flat_object_has_a_flat_panel() -> None:
    image = np.zeros((40, 400, 3), dtype=np.uint8)
    around = np.zeros((40, 400), dtype=np.bool_)
    around[:, 100:300] = True
    assert View(image, around, 200).draw(around, "flat").shape == (20 + CAPTION_PX, 200, 3)


def test_captions_that_do_not_fit_are_cut() -> None:
    short, whole = write_caption("IoU 0.93", 120), write_caption("", 120)
    assert short.shape == (CAPTION_PX, 120, 3)
    assert (short != whole).any()
    long = write_caption("a very long name of an image that has no end", 120)
    # Nothing is written over the margins.
    assert (long[:, 0] == whole[:, 0]).all()
    assert (long[:, -1] == whole[:, -1]).all()
    assert (long == write_caption("a very long name of another kind of image", 120)).all()


def test_panels_are_put_side_by_side_and_below_one_another() -> None:
    high = np.zeros((30, 20, 3), dtype=np.uint8)
    low = np.zeros((10, 20, 3), dtype=np.uint8)
    row = stack_panels([high, low], axis=1)
    assert row.shape == (30, 40 + GAP_PX, 3)
    assert (row[10:, 20 + GAP_PX :] == 250).all()
    assert (row[:10, 20 + GAP_PX :] == 0).all()
    assert (row[:, 20 : 20 + GAP_PX] == 250).all()
    assert stack_panels([row, high], axis=0).shape == (60 + GAP_PX, 40 + GAP_PX, 3)
    framed = frame_panels(high)
    assert framed.shape == (30 + GAP_PX, 20 + 2 * GAP_PX, 3)
    assert (framed[GAP_PX:, GAP_PX:-GAP_PX] == 0).all()
