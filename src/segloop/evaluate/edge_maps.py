"""Soft edge maps: the thinning of any of them along its normals, and those of Sobel and Canny, which know no objects.

A soft edge map is (H, W) float32 from 0 to 1; a benchmark binarises it at many thresholds.
"""

from __future__ import annotations

import cv2
import numpy as np

from segloop.data.image import ImageArray
from segloop.geometry.frames import BoolArray, FloatArray

_SMOOTHING_PX = 4
_MARGIN_PX = 5
_CANNY_SIGMA = 2.0
_CANNY_LEVELS = 99
_CANNY_LOW_SHARE = 0.4


def thin_edges(edges: FloatArray, tolerance: float = 1.01) -> FloatArray:
    """Suppress what is not a maximum along the normal of an edge (Canny's non-maximum suppression).

    The normal comes from second derivatives of the map smoothed by a triangle of radius 4; a pixel stays where `tolerance`
    times its value is at least that of both neighbours one pixel along the normal, which lie between pixels. Values
    within 5 pixels of the image's border fade to nothing.
    """
    normal_x, normal_y = _normals(edges)
    height, width = edges.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    keep = np.ones(edges.shape, dtype=np.bool_)
    for sign in (-1.0, 1.0):
        neighbour = cv2.remap(
            edges,
            columns + np.float32(sign) * normal_x,
            rows + np.float32(sign) * normal_y,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        keep &= np.float32(tolerance) * edges >= neighbour
    return np.where(keep, edges * _fade((height, width)), np.float32(0))


def scale_to_one(edges: FloatArray) -> FloatArray:
    """Scale linearly from its own least and largest value to 0 and 1; a map of one value is all 0."""
    low, high = float(edges.min()), float(edges.max())
    if high <= low:
        return np.zeros_like(edges)
    return np.asarray((edges - low) / (high - low), dtype=np.float32)


def sobel_edges(image: ImageArray) -> FloatArray:
    """Sobel's gradient of the grey image (H, W, 3 uint8 in), thinned."""
    return thin_edges(scale_to_one(gradient(_grey(image))))


def canny_edges(image: ImageArray) -> FloatArray:
    """Canny's edges with every high threshold: a pixel's value is the largest with which it is an edge.

    Gradients of the grey image smoothed by a Gaussian of 2 pixels; the low threshold is .4 of the high one.
    """
    smooth = cv2.GaussianBlur(_grey(image), (0, 0), _CANNY_SIGMA)
    strength = scale_to_one(_maxima_of_gradient(np.asarray(smooth, dtype=np.float32)))
    edges = np.zeros_like(strength)
    for level in range(1, _CANNY_LEVELS + 1):
        high = level / (_CANNY_LEVELS + 1)
        edges[_hysteresis(strength, _CANNY_LOW_SHARE * high, high)] = high
    return edges


def gradient(values: FloatArray) -> FloatArray:
    """Length of Sobel's gradient of a map (H, W)."""
    x, y = (cv2.Sobel(values, cv2.CV_32F, dx, 1 - dx, ksize=3) for dx in (1, 0))
    return np.asarray(cv2.magnitude(x, y), dtype=np.float32)


def _grey(image: ImageArray) -> FloatArray:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _normals(edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Unit vectors across the edges, from the largest curvature of the smoothed map."""
    ramp = np.concatenate([np.arange(1, _SMOOTHING_PX + 2), np.arange(_SMOOTHING_PX, 0, -1)])
    kernel = (ramp / ramp.sum()).astype(np.float32)
    smooth = cv2.sepFilter2D(edges, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REFLECT)
    dy, dx = np.gradient(np.asarray(smooth, dtype=np.float32))
    dxy, dxx = np.gradient(dx)
    dyy, _ = np.gradient(dy)
    # Along an edge there is about no curvature: the normal is the eigenvector of the eigenvalue that is larger in size.
    angle = 0.5 * np.arctan2(2 * dxy, dxx - dyy)
    cosine, sine = np.cos(angle), np.sin(angle)
    along = dxx * cosine**2 + 2 * dxy * cosine * sine + dyy * sine**2
    across = dxx * sine**2 - 2 * dxy * cosine * sine + dyy * cosine**2
    turn = np.abs(along) < np.abs(across)
    x, y = np.where(turn, -sine, cosine), np.where(turn, cosine, sine)
    return np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.float32)


def _maxima_of_gradient(values: FloatArray) -> FloatArray:
    """Length of the gradient where it is largest along its own direction, elsewhere 0 (Canny)."""
    x, y = (
        np.asarray(cv2.Sobel(values, cv2.CV_32F, dx, 1 - dx, ksize=3), dtype=np.float32)
        for dx in (1, 0)
    )
    length = np.hypot(x, y)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit_x, unit_y = np.where(length > 0, (x, y) / length, np.float32(0))
    rows, columns = np.mgrid[0 : values.shape[0], 0 : values.shape[1]].astype(np.float32)
    ahead, behind = (
        cv2.remap(
            length,
            columns + np.float32(sign) * unit_x,
            rows + np.float32(sign) * unit_y,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for sign in (1, -1)
    )
    # Of two equal neighbours one stays.
    return np.where((length >= ahead) & (length > behind), length, np.float32(0))


def _hysteresis(strength: FloatArray, low: float, high: float) -> BoolArray:
    """Pixels from `low` on that hang together, by eight neighbours, with one from `high` on."""
    _, labels = cv2.connectedComponents((strength >= low).astype(np.uint8), connectivity=8)
    is_edge = np.zeros(int(labels.max()) + 1, dtype=np.bool_)
    is_edge[labels[strength >= high]] = True
    is_edge[0] = False
    return np.asarray(is_edge[labels], dtype=np.bool_)


def _fade(image_hw: tuple[int, int]) -> FloatArray:
    """Factors (H, W): 0 at the border, 1 from the margin on."""
    rows, columns = (
        np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / _MARGIN_PX) for n in image_hw
    )
    return np.asarray(np.minimum.outer(rows, columns), dtype=np.float32)
