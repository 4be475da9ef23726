"""Masks without crumbs: islands that a compact model leaves beside an object are taken away, small holes in it filled.

Works on low-resolution logits, so that the mask, its stability and the next prompt agree. The browser does the same
(web/src/masks/tidy.ts), held to it by tests/vectors/tidy.json.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from segloop.geometry.frames import BoolArray, FloatArray, Frame
from segloop.geometry.masks import IntArray
from segloop.prompts.prompt import BACKGROUND, FOREGROUND, Prompt

# Shares of the largest piece and of the mask below which an island and a hole are taken for errors.
ISLAND_SHARE = 0.1
HOLE_SHARE = 0.1


def tidy_answers(
    logits: FloatArray, prompts: Sequence[Prompt], prompt_index: IntArray, frame: Frame
) -> FloatArray:
    """Logits (K, L, L) of masks that answer prompts[prompt_index[k]], tidied each; the same array if there is nothing to do.

    The answer to a lone click is one piece, or two where the click lies outside the largest. A click on the object keeps its
    piece, a click beside it its hole.
    """
    rows, columns = content_cells(frame)
    tidied = logits
    for row, index in enumerate(prompt_index):
        prompt = prompts[index]
        points, labels = prompt.points_and_labels
        cells = points_to_cells(points, frame)
        content = logits[row, :rows, :columns]
        flipped = crumbs(
            content > 0.0,
            cells[labels == FOREGROUND],
            cells[labels == BACKGROUND],
            island_share=1.0 if prompt.is_ambiguous else ISLAND_SHARE,
        )
        if flipped is not None:
            if tidied is logits:
                tidied = logits.copy()
            tidied[row, :rows, :columns][flipped] *= -1.0
    return tidied


def tidy_mask(mask: BoolArray, prompt: Prompt, origin_xy: tuple[int, int] = (0, 0)) -> BoolArray:
    """The same for one mask at the image's own pixels: (h, w), the part of it that begins at origin_xy."""
    points, labels = prompt.points_and_labels
    height, width = mask.shape
    cells = np.floor(points + 0.5).astype(np.int64) - origin_xy
    is_inside = ((cells >= 0) & (cells < (width, height))).all(axis=1)
    flipped = crumbs(
        mask,
        cells[is_inside & (labels == FOREGROUND)],
        cells[is_inside & (labels == BACKGROUND)],
        island_share=1.0 if prompt.is_ambiguous else ISLAND_SHARE,
    )
    return mask if flipped is None else mask ^ flipped


def content_cells(frame: Frame) -> tuple[int, int]:
    """Rows and columns of the logit frame that show something of the image; the others are padding."""
    cell = frame.input_size / frame.logit_size
    height, width = frame.content_hw
    return math.ceil(height / cell), math.ceil(width / cell)


def points_to_cells(points_xy: FloatArray, frame: Frame) -> IntArray:
    """The logit pixel (P, 2) as (x, y) that each point of the image lies in."""
    rows, columns = content_cells(frame)
    inside = (frame.points_to_input(points_xy) + 0.5) * (frame.logit_size / frame.input_size)
    cells: IntArray = np.clip(np.floor(inside), 0, (columns - 1, rows - 1)).astype(np.int64)
    return cells


def crumbs(
    mask: BoolArray, on_xy: IntArray, off_xy: IntArray, *, island_share: float
) -> BoolArray | None:
    """Where a mask (H, W) should be the other way round (H, W); None where nowhere.

    Islands are 8-connected pieces smaller than island_share of the largest without a point of on_xy (P, 2); holes
    4-connected gaps smaller than HOLE_SHARE of the mask, clear of the border and without a point of off_xy.
    """
    pieces, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    if pieces == 1:
        return None
    areas = stats[:, cv2.CC_STAT_AREA]
    drops = areas < island_share * areas[1:].max()
    drops[labels[on_xy[:, 1], on_xy[:, 0]]] = False
    drops[0] = False
    wrong: BoolArray = drops[labels] if drops.any() else np.zeros_like(mask)
    kept = mask & ~wrong if drops.any() else mask

    _, gaps, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8), connectivity=4)
    fills = stats[:, cv2.CC_STAT_AREA] < HOLE_SHARE * int(kept.sum())
    fills[np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]])] = False
    fills[gaps[off_xy[:, 1], off_xy[:, 0]]] = False
    fills[0] = False
    if fills.any():
        wrong = wrong ^ fills[gaps]
    return wrong if drops.any() or fills.any() else None
