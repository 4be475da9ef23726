"""Writes sharpen.json beside it: pictures, logits and masks with the pictures' edges, for Python and TypeScript.

Every expected mask comes from the slow sums below and never from segloop: "1" and "." as it must be, "?" where the value
lies too near the cut for two ways of adding to agree. Run: python tests/vectors/generate_sharpen.py
"""

from __future__ import annotations

import json
import math

import numpy as np
from generate import HERE, content_hw

LOGIT_WEIGHT, COLOR_WEIGHT, COLOR_LIMIT, LEVELS, SURROUND = 0.7, 0.4, 3.0, 32, 0.5
EPSILON, MARGIN = 1e-3, 0.01


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def shown(image_hw: tuple[int, int], input_size: int, logit_size: int) -> tuple[int, int]:
    """Rows and columns of logit pixels that show something of the image."""
    cell = input_size / logit_size
    height, width = content_hw(*image_hw, input_size)
    return math.ceil(height / cell), math.ceil(width / cell)


def blocks(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Means over whole blocks of pixels, or the pixels themselves."""
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    return pixels.reshape(rows, height, columns, width, 3).mean(axis=(1, 3)) / 255


def color_ratio(colors: np.ndarray, logits: np.ndarray) -> np.ndarray:
    rows, columns = logits.shape
    inside = [[sigmoid(2 * value) for value in row] for row in logits.tolist()]
    bins = np.minimum((colors * LEVELS).astype(int), LEVELS - 1)
    ys, xs = np.nonzero(logits > 0)
    x0, x1, y0, y1 = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
    across, down = round(SURROUND * (x1 - x0)), round(SURROUND * (y1 - y0))
    counts = np.zeros((2, LEVELS, LEVELS, LEVELS))
    for y in range(rows):
        for x in range(columns):
            counts[(0, *bins[y, x])] += inside[y][x]
            if x0 - across <= x < x1 + across and y0 - down <= y < y1 + down:
                counts[(1, *bins[y, x])] += 1 - inside[y][x]
    lent = np.zeros_like(counts)
    weights = {-1: 0.25, 0: 0.5, 1: 0.25}
    for which, *bin_ in np.argwhere(counts):
        for i, j, k in np.ndindex(3, 3, 3):
            # What would leave the table stays at its border.
            place = [
                min(max(b + o - 1, 0), LEVELS - 1) for b, o in zip(bin_, (i, j, k), strict=True)
            ]
            share = weights[i - 1] * weights[j - 1] * weights[k - 1]
            lent[(which, *place)] += counts[(which, *bin_)] * share
    common = [one / one.sum() + 1e-5 for one in lent]
    ratio = np.log(common[0] / common[1])
    return np.clip(ratio[bins[..., 0], bins[..., 1], bins[..., 2]], -COLOR_LIMIT, COLOR_LIMIT)


def squares(values: np.ndarray, radius: int, y: int, x: int) -> np.ndarray:
    rows, columns = values.shape[:2]
    at_y = np.clip(np.arange(y - radius, y + radius + 1), 0, rows - 1)
    at_x = np.clip(np.arange(x - radius, x + radius + 1), 0, columns - 1)
    return values[at_y][:, at_x].reshape((2 * radius + 1) ** 2, -1)


def fits(colors: np.ndarray, wanted: np.ndarray, radius: int) -> np.ndarray:
    """Three slopes and a shift for each logit pixel: the mean of the ridge regressions around it."""
    rows, columns = wanted.shape
    each = np.zeros((rows, columns, 4))
    for y in range(rows):
        for x in range(columns):
            own, goal = squares(colors, radius, y, x), squares(wanted, radius, y, x)[:, 0]
            spread = np.cov(own.T, bias=True) + EPSILON * np.eye(3)
            slopes = np.linalg.solve(
                spread, (own * goal[:, None]).mean(0) - own.mean(0) * goal.mean()
            )
            each[y, x] = [*slopes, goal.mean() - slopes @ own.mean(0)]
    return np.array(
        [[squares(each, radius, y, x).mean(0) for x in range(columns)] for y in range(rows)]
    )


def mixed(length: int, source: int, last: int) -> np.ndarray:
    """Weights (length, last + 1): bilinear from so many source pixels, of which those beyond last repeat it."""
    weights = np.zeros((length, last + 1))
    for pixel in range(length):
        place = min(max((pixel + 0.5) * source / length - 0.5, 0), source - 1)
        before = math.floor(place)
        weights[pixel, min(before, last)] += 1 - (place - before)
        weights[pixel, min(before + 1, source - 1, last)] += place - before
    return weights


def over_image(
    values: np.ndarray, image_hw: tuple[int, int], input_size: int, logit_size: int
) -> np.ndarray:
    """Values of logit pixels at the image's: bilinear to the input square, crop, bilinear to the image."""
    axes = []
    for length, content, cells in zip(
        image_hw, content_hw(*image_hw, input_size), values.shape[:2], strict=True
    ):
        axes.append(
            mixed(length, content, content - 1) @ mixed(input_size, logit_size, cells - 1)[:content]
        )
    return np.einsum("yr,rcv,xc->yxv", axes[0], values, axes[1])


def sharpened(pixels: np.ndarray, logits: np.ndarray, input_size: int) -> list[str]:
    image_hw, logit_size = pixels.shape[:2], len(logits)
    rows, columns = shown(image_hw, input_size, logit_size)
    content = logits[:rows, :columns]
    side = math.sqrt((content > 0).sum())
    radius = min(4, math.floor(side / 6 + 0.5))
    if not radius:
        return []
    colors = blocks(pixels, rows, columns)
    weighed = LOGIT_WEIGHT * content + COLOR_WEIGHT * color_ratio(colors, content)
    wanted = np.array([[sigmoid(value) for value in row] for row in weighed.tolist()])
    fit = over_image(fits(colors, wanted, radius), image_hw, input_size, logit_size)
    total = (fit[..., :3] * (pixels / 255)).sum(-1) + fit[..., 3]
    cell, ys, xs = input_size / logit_size, *np.nonzero(content > 0)
    near = np.zeros(image_hw, dtype=bool)
    ends = []
    for places, length, scaled in zip(
        (ys, xs), image_hw, content_hw(*image_hw, input_size), strict=True
    ):
        low = (places.min() - 2 * radius) * cell * length / scaled
        high = (places.max() + 1 + 2 * radius) * cell * length / scaled
        ends.append(slice(max(0, math.floor(low)), min(length, math.ceil(high))))
    near[ends[0], ends[1]] = True
    cut = np.where(np.abs(total - 0.5) < MARGIN, "?", np.where(total > 0.5, "1", "."))
    return ["".join(row) for row in np.where(near, cut, ".")]


def case(
    seed: int, image_hw: tuple[int, int], input_size: int, logit_size: int, share: float
) -> dict:
    """A coloured ellipse on a ground that changes, and the logits of a rectangle over it, all numbers of few digits."""
    rng = np.random.default_rng(seed)
    height, width = image_hw
    y, x = np.mgrid[:height, :width]
    inside = ((x - 0.55 * width) / (0.3 * width)) ** 2 + (
        (y - 0.45 * height) / (0.3 * height)
    ) ** 2 < 1
    ground = rng.integers(0, 200, 3) + (y + x)[..., None] * 40 / (height + width)
    pixels = np.where(inside[..., None], rng.integers(40, 255, 3), ground)
    pixels = np.clip(pixels + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    rows, columns = shown(image_hw, input_size, logit_size)
    logits = np.full((logit_size, logit_size), -3.0)
    low, high = 0.5 - share / 2, 0.5 + share / 2
    around = [slice(int(low * n / 2), int((1 + high) * n / 2) + 1) for n in (rows, columns)]
    logits[around[0], around[1]] = -0.5
    logits[int(low * rows) : int(high * rows), int(low * columns) : int(high * columns)] = 1.5
    logits = np.round(logits + rng.normal(0, 0.2, logits.shape), 2)
    return {
        "image_hw": list(image_hw),
        "input_size": input_size,
        "logit_size": logit_size,
        "pixels": pixels.reshape(-1).tolist(),
        "logits": logits.reshape(-1).tolist(),
        "sharpened": sharpened(pixels, logits, input_size),
    }


def main() -> None:
    cases = [
        case(0, (24, 24), 24, 24, 0.6),
        case(1, (20, 32), 32, 16, 0.7),
        case(2, (48, 32), 24, 24, 0.6),
        case(3, (32, 32), 32, 32, 0.9),
        case(4, (24, 24), 24, 24, 0.08),
        case(5, (24, 24), 24, 24, 0.2),
    ]
    (HERE / "sharpen.json").write_text(json.dumps({"masks": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
