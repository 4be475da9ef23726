"""From pixels to the encoder's input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from segloop.data.transforms import normalize_and_pad, prepare_input, resize_image
from segloop.geometry.frames import Frame

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


@pytest.mark.parametrize("image_hw", [(1, 1), (1, 5000), (5000, 1), (33, 50), (64, 64), (700, 512)])
def test_content_is_normalised_and_what_surrounds_it_is_zero(image_hw: tuple[int, int]) -> None:
    frame = Frame(image_hw, 64, 16)
    image = np.full((*image_hw, 3), (200, 30, 90), dtype=np.uint8)
    prepared = prepare_input(image, frame)
    height, width = frame.content_hw
    assert prepared.shape == (3, 64, 64)
    assert prepared.dtype == np.float32
    for channel, value in enumerate((200, 30, 90)):
        expected = (value - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(prepared[channel, :height, :width], expected, rtol=1e-5)
    assert not prepared[:, height:].any()
    assert not prepared[:, :, width:].any()


def test_padding_comes_after_normalising() -> None:
    prepared = normalize_and_pad(np.zeros((2, 3, 3), dtype=np.uint8), 4)
    assert prepared[0, 0, 0] == pytest.approx(-MEAN[0] / STD[0])
    assert prepared[0, 3, 3] == 0.0


def test_shrinking_averages_what_it_leaves_out() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(stripes, (8, 8))
    assert small.shape == (8, 8, 3)
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() < 20


def test_resizing_is_pillows_bilinear() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 47, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((64, 41), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize_image(image, (41, 64)), expected)
    frame = Frame((30, 47), 64, 16)
    np.testing.assert_array_equal(
        prepare_input(image, frame)[:, :41], normalize_and_pad(expected, 64)[:, :41]
    )
