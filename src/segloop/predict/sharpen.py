"""Borders that follow the image's own edges: a compact model's coarse masks, decided again pixel by pixel by colour.

A compact model decides in cells of many pixels, so its borders are smooth and wavy. Here its logits are weighed against how
much more common a pixel's colour is inside the mask than around it (Boykov and Jolly 2001, "Interactive graph cuts", section
2.3), and a guided filter lets the sum follow the edges of the image (He et al. 2010, "Guided image filtering", equations 8
and 19; in its fast form, He and Sun 2015: coefficients on the logit grid, applied to every pixel).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segloop.data.image import ImageArray
from segloop.geometry.frames import BoolArray, FloatArray, Frame
from segloop.geometry.masks import IntArray, MaskBatch
from segloop.geometry.windows import Window
from segloop.predict.tidy import content_cells, tidy_mask
from segloop.prompts.prompt import Prompt


@dataclass(frozen=True)
class SharpenConfig:
    """How much the image's colours and edges count; chosen on held-out images of the training sets.

    logit_weight, color_weight: of the model's logits and of the logarithm of how much more common a colour is in the mask
    than around it, which is kept within color_limit either way. levels: of each colour channel, where colours are counted.
    surround: how far around a mask its background's colours are counted, as a share of its box. radius_share: of a mask's
    side, the square root of its area, is the guided filter's radius, in whole logit pixels up to most_radius, for a wide one
    would wash small masks away; those too small for a radius of 1 stay as they are. epsilon: the filter's regularisation.
    A mask grows by no more than two radii.
    """

    logit_weight: float = 0.7
    color_weight: float = 0.4
    color_limit: float = 3.0
    levels: int = 32
    surround: float = 0.5
    radius_share: float = 1 / 6
    most_radius: int = 4
    epsilon: float = 1e-3


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the colours around each of h x w logit pixels: means (h, w, 3), inverse (h, w, 3, 3) of covariance plus epsilon."""

    radius: int
    means: FloatArray
    inverse: FloatArray


@dataclass(frozen=True, eq=False)
class Guide:
    """What all masks of an image share: its colours on the h x w logit pixels that show it.

    colors: (h, w, 3) from 0 to 1. bins: (h, w), which counted colour each is. moments: by radius, those asked for so far.
    """

    pixels: ImageArray
    frame: Frame
    colors: FloatArray
    bins: IntArray
    moments: dict[int, Moments] = field(default_factory=dict)


def sharpen_answers(
    found: MaskBatch,
    prompts: Sequence[Prompt],
    pixels: ImageArray,
    frame: Frame,
    *,
    tidies: bool,
    config: SharpenConfig = SharpenConfig(),
) -> MaskBatch:
    """Masks that answer prompts[prompt_index[k]] on an image (H, W, 3) RGB with its edges; their logits stay as they are.

    tidies: take crumbs away that colour has left, see segloop.predict.tidy.
    """
    if not len(found):
        return found
    guide = guide_of(pixels, frame, config)
    masks = found.masks.copy()
    for mask, logits, index in zip(masks, found.logits, found.prompt_index, strict=True):
        sharpened = sharpen(logits, guide, config)
        if sharpened is None:
            continue
        (x0, y0, x1, y1), part = sharpened
        if tidies:
            part = tidy_mask(part, prompts[index], (x0, y0))
        if part.any():
            mask[:] = False
            mask[y0:y1, x0:x1] = part
    return replace(found, masks=masks)


def guide_of(pixels: ImageArray, frame: Frame, config: SharpenConfig = SharpenConfig()) -> Guide:
    """The guide of an image (H, W, 3) RGB."""
    colors = _on_logit_grid(pixels, frame)
    levels = np.minimum((colors * config.levels).astype(np.int64), config.levels - 1)
    bins = (levels[..., 0] * config.levels + levels[..., 1]) * config.levels + levels[..., 2]
    return Guide(pixels, frame, colors, bins)


def sharpen(
    logits: FloatArray, guide: Guide, config: SharpenConfig = SharpenConfig()
) -> tuple[Window, BoolArray] | None:
    """The mask of logits (L, L) with the image's edges, as a window of the image and its pixels; None if too small."""
    rows, columns = guide.bins.shape
    content = logits[:rows, :columns]
    side = float(np.sqrt(np.count_nonzero(content > 0.0)))
    radius = min(int(config.radius_share * side + 0.5), config.most_radius)
    if not radius:
        return None
    ys, xs = (np.flatnonzero((content > 0.0).any(axis=axis)) for axis in (1, 0))
    box = int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1
    weighed = config.logit_weight * content + config.color_weight * _color_ratio(
        content, box, guide, config
    )
    if radius not in guide.moments:
        guide.moments[radius] = _moments(guide.colors, radius, config.epsilon)
    slopes, shift = _fit(_sigmoid(weighed), guide.colors, guide.moments[radius])
    window = _grown_window(box, 2 * radius, guide.frame)
    x0, y0, x1, y1 = window
    total = _over_image(shift, window, guide.frame)
    for channel in range(3):
        slope = _over_image(slopes[..., channel], window, guide.frame)
        total += slope * (guide.pixels[y0:y1, x0:x1, channel] * np.float32(1 / 255))
    return window, total > 0.5


def _color_ratio(
    content: FloatArray, box: Window, guide: Guide, config: SharpenConfig
) -> FloatArray:
    """Logarithm (h, w) of how much more common a pixel's colour is in the mask than around it."""
    inside = _sigmoid(2.0 * content)
    x0, y0, x1, y1 = box
    across, down = round(config.surround * (x1 - x0)), round(config.surround * (y1 - y0))
    near = np.s_[max(0, y0 - down) : y1 + down, max(0, x0 - across) : x1 + across]
    num_bins = config.levels**3
    ours = np.bincount(guide.bins.ravel(), inside.ravel(), num_bins)
    others = np.bincount(guide.bins[near].ravel(), (1.0 - inside[near]).ravel(), num_bins)
    cube = (config.levels,) * 3
    ratio = np.log(_spread(ours.reshape(cube)) / _spread(others.reshape(cube)))
    ratio = np.clip(ratio, -config.color_limit, config.color_limit).astype(np.float32)
    return np.asarray(ratio.ravel()[guide.bins])


def _spread(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Shares of colours counted (N, N, N), each lent to its neighbours, none of them 0."""
    for axis in range(3):
        counts = np.moveaxis(counts, axis, 0)
        padded = np.concatenate([counts[:1], counts, counts[-1:]])
        counts = np.moveaxis(0.25 * (padded[:-2] + padded[2:]) + 0.5 * counts, 0, axis)
    return np.asarray(counts / max(float(counts.sum()), 1e-6) + 1e-5)


def _moments(colors: FloatArray, radius: int, epsilon: float) -> Moments:
    height, width = colors.shape[:2]
    means = _box_mean(colors, radius)
    products = (colors[..., :, None] * colors[..., None, :]).reshape(height, width, 9)
    covariance = _box_mean(products, radius).reshape(height, width, 3, 3)
    covariance -= means[..., :, None] * means[..., None, :]
    return Moments(radius, means, _inverse(covariance + epsilon * np.eye(3, dtype=np.float32)))


def _fit(wanted: FloatArray, colors: FloatArray, moments: Moments) -> tuple[FloatArray, FloatArray]:
    """Slopes (h, w, 3) and shift (h, w) that make of colours what is wanted (h, w), each the mean of the fits around."""
    radius, means = moments.radius, moments.means
    mean = _box_mean(wanted, radius)
    covariance = _box_mean(colors * wanted[..., None], radius) - means * mean[..., None]
    slopes = (moments.inverse @ covariance[..., None])[..., 0]
    shift = mean - (slopes * means).sum(axis=-1)
    return _box_mean(slopes, radius), _box_mean(shift, radius)


def _on_logit_grid(pixels: ImageArray, frame: Frame) -> FloatArray:
    """Colours (h, w, 3) from 0 to 1 of the logit pixels that show something of the image."""
    height, width = frame.content_hw
    shrinks = height < pixels.shape[0]
    content = cv2.resize(
        pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    rows, columns = content_cells(frame)
    cell = frame.input_size / frame.logit_size
    down, across = round(rows * cell) - height, round(columns * cell) - width
    content = cv2.copyMakeBorder(content, 0, max(0, down), 0, max(0, across), cv2.BORDER_REPLICATE)
    colors = cv2.resize(content, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(colors.astype(np.float32) / 255.0)


def _over_image(values: FloatArray, window: Window, frame: Frame) -> FloatArray:
    """A window of values (h, w) of logit pixels at the image's own pixels."""
    side = frame.logit_size
    rows, columns = values.shape
    square = np.pad(values, ((0, side - rows), (0, side - columns)), mode="edge")
    return frame.logits_in_window(square, window)


def _grown_window(box: Window, by: int, frame: Frame) -> Window:
    """The window of the image under a box of logit pixels and so many around it."""
    cell = frame.input_size / frame.logit_size
    height, width = frame.image_hw
    scale_x, scale_y = frame.scale_xy
    return (
        max(0, int((box[0] - by) * cell / scale_x)),
        max(0, int((box[1] - by) * cell / scale_y)),
        min(width, int(np.ceil((box[2] + by) * cell / scale_x))),
        min(height, int(np.ceil((box[3] + by) * cell / scale_y))),
    )


def _inverse(matrices: FloatArray) -> FloatArray:
    """Inverses of symmetric (..., 3, 3) by their cofactors, many times faster than numpy.linalg.inv."""
    # Grey images make them nearly singular, so small differences count.
    exact = matrices.astype(np.float64)
    a, b, c = exact[..., 0, 0], exact[..., 0, 1], exact[..., 0, 2]
    d, e, f = exact[..., 1, 1], exact[..., 1, 2], exact[..., 2, 2]
    cofactors = [
        d * f - e * e, c * e - b * f, b * e - c * d,
        c * e - b * f, a * f - c * c, b * c - a * e,
        b * e - c * d, b * c - a * e, a * d - b * b,
    ]  # fmt: skip
    determinant = a * cofactors[0] + b * cofactors[1] + c * cofactors[2]
    stacked = np.stack(cofactors, axis=-1) / determinant[..., None]
    return stacked.reshape(matrices.shape).astype(np.float32)


def _box_mean(values: FloatArray, radius: int) -> FloatArray:
    """Means over the square of this radius about each pixel of (h, w) or (h, w, C); beyond the border it goes on."""
    size = (2 * radius + 1, 2 * radius + 1)
    return np.asarray(cv2.boxFilter(values, -1, size, borderType=cv2.BORDER_REPLICATE))


def _sigmoid(values: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0))), dtype=np.float32)
