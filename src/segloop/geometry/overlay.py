"""Pictures of masks: coloured overlays with their prompts, and cut-outs with a soft edge.

Arrays in, arrays out. Everything is in the image frame; nothing here knows who made a mask. Edges are drawn from a
smoothed signed distance to the mask's border, so lines are smooth at any width.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor

import cv2
import numpy as np
import numpy.typing as npt

from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import mask_boxes
from segloop.geometry.rle import decode_rle_window

PixelArray = npt.NDArray[np.uint8]
Color = tuple[int, int, int]

_PALETTE: tuple[Color, ...] = (
    (26, 133, 255),
    (255, 124, 32),
    (16, 185, 129),
    (232, 62, 140),
    (147, 97, 255),
    (245, 196, 24),
    (6, 178, 210),
    (239, 68, 68),
    (126, 200, 20),
    (94, 114, 255),
    (250, 128, 160),
    (190, 132, 70),
)
_FOREGROUND: Color = (22, 163, 74)
_BACKGROUND: Color = (220, 38, 38)
_WHITE: Color = (255, 255, 255)
_BLACK: Color = (0, 0, 0)
_FILL_OPACITY = 0.42
_REST_BRIGHTNESS = 0.72
_SUBPIXEL_BITS = 4
_BAND_ROWS = 256


def mask_color(index: int) -> Color:
    """The RGB colour of the index-th mask: the same each time, and far from its neighbours' at any index."""
    if index < len(_PALETTE):
        return _PALETTE[index]
    hue = (index * 0.6180339887498949) % 1.0
    value = (0.95, 0.78, 0.62)[index % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.78, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_masks(image: PixelArray, masks: BoolArray, *, first_color: int = 0) -> PixelArray:
    """Lay masks (N, H, W) over a picture (H, W, 3): coloured fill, light outline with a dark casing, the rest dimmed.

    Small masks lie on large ones. Mask i has mask_color(first_color + i). The picture itself is left as it was.
    """
    if masks.shape[1:] != image.shape[:2]:
        raise ValueError(
            f"masks are {masks.shape[1:]}, the image is {image.shape[:2]} (height, width)"
        )
    boxes = mask_boxes(masks).astype(np.int64)

    def patch_at(row: int) -> _Patch:
        x0, y0, x1, y1 = boxes[row].tolist()
        return _Patch(masks[row, y0 : y1 + 1, x0 : x1 + 1], x0, y0)

    return _draw_in_turn(image, masks.sum(axis=(1, 2)), patch_at, first_color)


def draw_encoded(image: PixelArray, masks: EncodedMasks, *, max_side: int = 1600) -> PixelArray:
    """Lay thousands of masks over a picture (H, W, 3) as draw_masks does, one at a time, at most max_side pixels long.

    A larger picture and its masks are shrunk, so what is needed beside the picture itself hangs on max_side alone.
    """
    if masks.image_hw != image.shape[:2]:
        raise ValueError(f"masks are {masks.image_hw}, the image is {image.shape[:2]}")
    height, width = _fit(image.shape[:2], max_side)
    scale_x, scale_y = width / image.shape[1], height / image.shape[0]
    small = image if (height, width) == image.shape[:2] else _shrink(image, (height, width))

    def patch_at(row: int) -> _Patch:
        x0, y0, x1, y1 = masks.boxes_xyxy[row].tolist()
        left, top = floor(x0 * scale_x), floor(y0 * scale_y)
        right, bottom = ceil((x1 + 1) * scale_x), ceil((y1 + 1) * scale_y)
        window = (
            floor(left / scale_x),
            floor(top / scale_y),
            min(image.shape[1], ceil(right / scale_x)),
            min(image.shape[0], ceil(bottom / scale_y)),
        )
        mask = decode_rle_window(masks.rles[row], window)
        if mask.shape == (bottom - top, right - left):
            return _Patch(mask, left, top)
        shrunk = _shrink(mask.astype(np.uint8) * 255, (bottom - top, right - left))
        return _Patch(np.asarray(shrunk > 127), left, top)

    return _draw_in_turn(small, masks.areas, patch_at, 0)


def draw_prompt(
    image: PixelArray,
    points_xy: npt.ArrayLike = (),
    labels: npt.ArrayLike | None = None,
    box_xyxy: npt.ArrayLike | None = None,
) -> PixelArray:
    """Draw one object's prompt on a picture: its box, a green plus on foreground points, a red minus on background.

    points_xy: (P, 2); labels: (P,), 1 foreground and 0 background, all foreground if left out; box_xyxy: (4,).
    """
    canvas = image.copy()
    width_px = line_width_px(image.shape[:2])
    if box_xyxy is not None:
        _draw_box(canvas, np.asarray(box_xyxy, dtype=np.float64).reshape(4), width_px)
    points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)
    kinds = np.ones(len(points)) if labels is None else np.asarray(labels).reshape(-1)
    for point, kind in zip(points, kinds, strict=True):
        _draw_point(canvas, point, bool(kind), width_px)
    return canvas


def cut_out(image: PixelArray, mask: BoolArray, logits: FloatArray | None = None) -> PixelArray:
    """The masked part of a picture (H, W, 3) as (H, W, 4) RGBA of the same size, with a soft edge about a pixel wide.

    logits: (H, W) mask logits in the image frame; the edge runs where they cross 0, between the pixels, if their positive
    pixels are the mask's: those of a mask that was looked at closer are coarser than it. Pixels that are wholly transparent
    are black, so that nothing of the background is in the file.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask is {mask.shape}, the image is {image.shape[:2]} (height, width)")
    if logits is not None and not np.array_equal(logits > 0, mask):
        logits = None
    distance = _signed_distance(mask) if logits is None else _logit_distance(logits)
    coverage = np.clip(distance + 0.5, 0.0, 1.0)
    # Thin parts keep at least half: the smoothing must not swallow a pixel that the mask counts as its own.
    coverage = np.where(mask, np.maximum(coverage, 0.5), np.minimum(coverage, 127 / 255))
    if not mask.any():
        coverage = np.zeros_like(coverage)
    alpha = (coverage * 255.0 + 0.5).astype(np.uint8)
    return np.dstack([np.where(alpha[..., None] > 0, image, 0).astype(np.uint8), alpha])


def line_width_px(image_hw: tuple[int, ...]) -> float:
    """Width of an outline that looks the same on a small and on a large picture."""
    return max(1.5, 0.0036 * float(np.sqrt(image_hw[0] * image_hw[1])))


@dataclass(frozen=True, eq=False)
class _Patch:
    """The part of a mask that holds all of it, and where its first pixel lies in the picture."""

    mask: BoolArray
    left: int
    top: int


def _draw_in_turn(
    image: PixelArray,
    areas: npt.NDArray[np.integer],
    patch_at: Callable[[int], _Patch],
    first_color: int,
) -> PixelArray:
    """Draw masks from the largest to the smallest; each is fetched when its turn comes, and let go."""
    if not len(areas):
        return image.copy()
    covered = np.zeros(image.shape[:2], dtype=np.bool_)
    rows = [int(row) for row in np.argsort(-areas, kind="stable") if areas[row]]
    for row in rows:
        patch = patch_at(row)
        height, width = patch.mask.shape
        covered[patch.top : patch.top + height, patch.left : patch.left + width] |= patch.mask
    canvas = _dim_rest(image, covered)
    width_px = line_width_px(image.shape[:2])
    for row in rows:
        patch = patch_at(row)
        if patch.mask.any():
            _draw_mask(canvas, patch, mask_color(first_color + row), width_px)
    return canvas


def _fit(image_hw: tuple[int, ...], max_side: int) -> tuple[int, int]:
    scale = min(1.0, max_side / max(image_hw))
    return max(1, round(scale * image_hw[0])), max(1, round(scale * image_hw[1]))


def _shrink(pixels: PixelArray, size_hw: tuple[int, int]) -> PixelArray:
    resized = cv2.resize(pixels, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)


def _dim_rest(image: PixelArray, covered: BoolArray) -> PixelArray:
    dimmed = cv2.convertScaleAbs(image, alpha=_REST_BRIGHTNESS)
    return np.where(covered[..., None], image, dimmed).astype(np.uint8)


def _draw_mask(canvas: PixelArray, patch: _Patch, color: Color, width_px: float) -> None:
    margin = int(np.ceil(2 * width_px)) + 4
    height, width = patch.mask.shape
    x0, y0 = max(0, patch.left - margin), max(0, patch.top - margin)
    x1 = min(canvas.shape[1], patch.left + width + margin)
    y1 = min(canvas.shape[0], patch.top + height + margin)
    mask = np.zeros((y1 - y0, x1 - x0), dtype=np.bool_)
    mask[patch.top - y0 :, patch.left - x0 :][:height, :width] = patch.mask
    distance = _signed_distance(mask)
    for top in range(0, len(mask), _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        band = canvas[y0:y1, x0:x1][rows]
        band[:] = _paint_mask(band, distance[rows], color, width_px)


def _paint_mask(
    patch: PixelArray, distance: FloatArray, color: Color, width_px: float
) -> PixelArray:
    light = _mix(color, _WHITE, 0.72)
    painted = _paint(
        patch.astype(np.float32), color, _FILL_OPACITY * np.clip(distance + 0.5, 0.0, 1.0)
    )
    edge = np.abs(distance)
    painted = _paint(
        painted, _mix(color, _BLACK, 0.6), 0.55 * np.clip(width_px + 0.5 - edge, 0.0, 1.0)
    )
    painted = _paint(painted, light, np.clip(width_px / 2 + 0.5 - edge, 0.0, 1.0))
    return (painted + 0.5).astype(np.uint8)


def _signed_distance(mask: BoolArray) -> FloatArray:
    """Smoothed distance to the border of a mask in pixels, positive inside."""
    # A frame of repeated pixels keeps a mask that meets the picture's edge from being outlined there.
    ones = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    limit = float(max(ones.shape))
    inside = np.minimum(cv2.distanceTransform(ones, cv2.DIST_L2, cv2.DIST_MASK_5), limit)
    outside = np.minimum(cv2.distanceTransform(1 - ones, cv2.DIST_L2, cv2.DIST_MASK_5), limit)
    signed = np.where(ones > 0, inside - 0.5, 0.5 - outside).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(signed, (0, 0), 1.0)[1:-1, 1:-1], dtype=np.float32)


def _logit_distance(logits: FloatArray) -> FloatArray:
    """Distance to where logits (H, W) cross 0, in pixels, by their slope."""
    field = np.asarray(logits, dtype=np.float32)
    slope_x = cv2.Scharr(field, cv2.CV_32F, 1, 0, scale=1 / 32)
    slope_y = cv2.Scharr(field, cv2.CV_32F, 0, 1, scale=1 / 32)
    return np.asarray(field / np.maximum(np.hypot(slope_x, slope_y), 1e-6), dtype=np.float32)


def _paint(picture: FloatArray, color: Color, opacity: npt.NDArray[np.floating]) -> FloatArray:
    target = np.array(color, dtype=np.float32)
    return np.asarray(picture + (target - picture) * opacity[..., None], dtype=np.float32)


def _draw_box(canvas: PixelArray, box_xyxy: npt.NDArray[np.float64], width_px: float) -> None:
    start, end = _fixed(box_xyxy[:2]), _fixed(box_xyxy[2:])
    for color, thickness in ((_BLACK, 1.2 * width_px + 2), (_WHITE, 0.8 * width_px)):
        cv2.rectangle(
            canvas, start, end, color, max(1, round(thickness)), cv2.LINE_AA, _SUBPIXEL_BITS
        )


def _draw_point(
    canvas: PixelArray, point_xy: npt.NDArray[np.float64], is_foreground: bool, width_px: float
) -> None:
    radius = 3.4 * width_px + 2.0
    color = _FOREGROUND if is_foreground else _BACKGROUND
    rings = (
        (_mix(color, _BLACK, 0.7), radius + 0.7 * width_px),
        (_WHITE, radius),
        (color, 0.78 * radius),
    )
    for ring_color, ring_radius in rings:
        _draw_disc(canvas, point_xy, ring_color, ring_radius)
    arm, thickness = 0.42 * radius, max(1, round(0.28 * radius))
    directions = [np.array([arm, 0.0])] + ([np.array([0.0, arm])] if is_foreground else [])
    for direction in directions:
        start, end = _fixed(point_xy - direction), _fixed(point_xy + direction)
        cv2.line(canvas, start, end, _WHITE, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_disc(
    canvas: PixelArray, center_xy: npt.NDArray[np.float64], color: Color, radius: float
) -> None:
    x, y = _fixed(center_xy)
    cv2.circle(
        canvas, (x, y), round(radius * 2**_SUBPIXEL_BITS), color, -1, cv2.LINE_AA, _SUBPIXEL_BITS
    )


def _fixed(point_xy: npt.NDArray[np.float64]) -> tuple[int, int]:
    scaled = np.rint(np.clip(point_xy, -1e6, 1e6) * 2**_SUBPIXEL_BITS).astype(int)
    return int(scaled[0]), int(scaled[1])


def _mix(color: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return red, green, blue
