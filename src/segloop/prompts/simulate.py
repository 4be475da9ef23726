"""The prompts a patient annotator would give: from the truth and a prediction to the next click or box.

One simulator for training, evaluation and the data engine. NumPy in and out; every random choice comes from the
generator that is passed in, so a sample's seed decides its prompts. Masks are (H, W) bool, points are (x, y) pixels of
that same frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from segloop.geometry.frames import BoolArray, FloatArray


@dataclass(frozen=True)
class Click:
    """One click: pixel (x, y) and whether it says foreground."""

    xy: tuple[int, int]
    is_foreground: bool


def random_click(truth: BoolArray, rng: np.random.Generator) -> Click:
    """A foreground click uniform over the truth (paper appendix A, first prompt). The truth must not be empty."""
    return Click(_uniform_pixel(truth, rng), True)


def truth_box(truth: BoolArray) -> FloatArray:
    """The tight box (4,) of a mask that is not empty; x1 and y1 are the last pixel's."""
    columns, rows = np.flatnonzero(truth.any(axis=0)), np.flatnonzero(truth.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=np.float32)


def open_box(box_xyxy: FloatArray) -> FloatArray:
    """The box of a mask one pixel wide or high has no extent between pixel centres: give it that one pixel."""
    box = box_xyxy.copy()
    box[2:] = np.maximum(box[2:], box[:2] + 1)
    return box


def noisy_box(
    truth: BoolArray, rng: np.random.Generator, share: float = 0.1, limit_px: float = 20.0
) -> FloatArray:
    """The truth's box with Gaussian noise of `share` of its sides, at most limit_px, inside the image (paper appendix A).

    limit_px counts in this frame's pixels. A box that noise would turn inside out keeps at least one pixel.
    """
    box = truth_box(truth)
    sides = np.array([box[2] - box[0], box[3] - box[1]] * 2, dtype=np.float32)
    noise = np.clip(rng.standard_normal(4) * share * sides, -limit_px, limit_px)
    height, width = truth.shape
    x0, y0, x1, y1 = box + noise
    x0, x1 = _at_least_one(*np.clip(sorted((x0, x1)), 0, width - 1))
    y0, y1 = _at_least_one(*np.clip(sorted((y0, y1)), 0, height - 1))
    return np.array([x0, y0, x1, y1], dtype=np.float32)


def _at_least_one(low: float, high: float) -> tuple[float, float]:
    """The ends of a side, a pixel apart or more; it grows downwards as far as the image goes."""
    low = min(low, max(0.0, high - 1.0))
    return low, max(high, low + 1.0)


def random_error_click(truth: BoolArray, prediction: BoolArray, rng: np.random.Generator) -> Click:
    """A click uniform over the pixels where prediction and truth differ (paper appendix A).

    Foreground on a missed pixel, background on a false one. Where nothing differs, a background pixel is the click, or
    a foreground one if there is no background.
    """
    error = truth ^ prediction
    if error.any():
        x, y = _uniform_pixel(error, rng)
        return Click((x, y), bool(truth[y, x]))
    if truth.all():
        return Click(_uniform_pixel(truth, rng), True)
    return Click(_uniform_pixel(~truth, rng), False)


def center_error_click(
    truth: BoolArray, prediction: BoolArray, clicked: BoolArray | None = None
) -> Click:
    """The click an evaluation gives: the innermost pixel of the larger error (paper §7.1; RITM's protocol).

    The image border counts as a boundary; pixels set in `clicked` are never chosen again; a tie is a background click; of
    equal pixels the first in row order wins.
    """
    missed = _interior_distance(truth & ~prediction)
    false = _interior_distance(prediction & ~truth)
    if clicked is not None:
        missed, false = missed * ~clicked, false * ~clicked
    is_foreground = bool(missed.max() > false.max())
    return Click(_first_maximum(missed if is_foreground else false), is_foreground)


def center_click(truth: BoolArray) -> tuple[int, int]:
    """The innermost pixel (x, y) of a mask: the maximum of its interior distance transform (paper §7.1)."""
    return _first_maximum(_interior_distance(truth))


def worn_or_grown(
    truth: BoolArray, rng: np.random.Generator, limit_share: float = 0.15
) -> BoolArray:
    """The truth eroded or dilated by a random radius: a rough mask such as a user might bring.

    The radius is at most limit_share of the square root of the area. A mask that erosion would wipe out is dilated.
    """
    radius = max(1, round(float(rng.uniform(0.0, limit_share)) * float(np.sqrt(truth.sum()))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    mask = truth.astype(np.uint8)
    if rng.random() < 0.5:
        worn = np.asarray(cv2.erode(mask, kernel), dtype=np.bool_)
        if worn.any():
            return worn
    return np.asarray(cv2.dilate(mask, kernel), dtype=np.bool_)


def _interior_distance(mask: BoolArray) -> FloatArray:
    distance = np.zeros(mask.shape, dtype=np.float32)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows):
        # Outside its box a mask has nothing to measure: an error is mostly small, and this is the cost of a click.
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        padded = np.pad(mask[box], 1).astype(np.uint8)
        inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        distance[box] = inside[1:-1, 1:-1]
    return distance


def _first_maximum(distance: FloatArray) -> tuple[int, int]:
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(x), int(y)


def _uniform_pixel(mask: BoolArray, rng: np.random.Generator) -> tuple[int, int]:
    candidates = np.flatnonzero(mask)
    y, x = divmod(int(candidates[rng.integers(len(candidates))]), mask.shape[1])
    return x, y
