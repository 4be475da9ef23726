"""Wholes, parts and sub-parts (paper §3): which mask lies within which, and which one of a point's nest to keep.

A mask's parent is always larger than the mask, so that a tree cannot run in circles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import IntArray
from segloop.geometry.rle import decode_rle_window

Float64Array = npt.NDArray[np.float64]
NestChoice = Literal["smoothest", "most_confident"]


@dataclass(frozen=True, eq=False)
class Tree:
    """Masks of one image by containment, one row each in both columns (a forest: there is a root for every whole).

    parent: (N,) row of the smallest mask around this one, -1 for a root. depth: (N,) 0 for a root (a whole), 1 for its
    children (parts), 2 for theirs (sub-parts) and so on.
    """

    parent: IntArray
    depth: IntArray

    def __len__(self) -> int:
        return len(self.parent)

    @property
    def roots(self) -> IntArray:
        """Rows without a parent, in rising order."""
        return np.flatnonzero(self.parent < 0)

    def children(self, row: int) -> IntArray:
        """Rows whose parent is `row`, in rising order."""
        return np.flatnonzero(self.parent == row)


def build_tree(masks: EncodedMasks, containment: float = 0.9, min_area_ratio: float = 1.25) -> Tree:
    """Find for each mask the smallest one it lies in.

    A parent covers at least `containment` of the mask's pixels and has at least min_area_ratio times its area. The
    latter tells a part from a near-duplicate: the IoU of a parent and its child is at most 1 / min_area_ratio (0.8 by
    default); masks more alike than that are mostly siblings. Of candidates equal in area the earlier row is the parent.
    An empty mask is a root without children. InputError unless containment is in (0, 1] and min_area_ratio
    exceeds 1.
    """
    if not 0 < containment <= 1:
        raise InputError(f"containment is above 0 and at most 1, got {containment}")
    if not min_area_ratio > 1:
        raise InputError(f"min_area_ratio is above 1, got {min_area_ratio}")
    # The stubs know compressed runs as text only where the library wants bytes.
    runs: list[Any] = [
        {"size": list(rle.size_hw), "counts": rle.counts.encode()} for rle in masks.rles
    ]
    smallest_first = np.argsort(masks.areas, kind="stable")
    boxes, areas = masks.boxes_xyxy[smallest_first].astype(np.float64), masks.areas[smallest_first]
    parent = np.full(len(masks), -1, dtype=np.int64)
    for place, row in enumerate(smallest_first):
        area = areas[place]
        if area == 0:
            continue
        start = int(np.searchsorted(areas, area * min_area_ratio))
        # No more can be shared than the boxes share.
        near = _shared(boxes[place], boxes[start:]) / area >= containment
        parent[row] = _first_around(runs, row, smallest_first[start:][near], containment)
    depth = np.zeros(len(masks), dtype=np.int64)
    for row in smallest_first[::-1]:
        if parent[row] >= 0:
            depth[row] = depth[parent[row]] + 1
    return Tree(parent, depth)


def _first_around(runs: list[Any], row: int, candidates: IntArray, containment: float) -> int:
    """The first of the candidates that contains the mask, -1 for none."""
    # Mostly one of the first few does; asking for all of them takes several times as long.
    for begin in range(0, len(candidates), 4):
        few = candidates[begin : begin + 4]
        # A crowd in COCO's sense: what is shared counts against the area of the first mask alone.
        shares = coco_mask.iou([runs[row]], [runs[one] for one in few], [1] * len(few))
        inside = np.flatnonzero(np.asarray(shares)[0] >= containment)
        if len(inside):
            return int(few[inside[0]])
    return -1


def choose_from_nests(masks: EncodedMasks, by: NestChoice = "most_confident") -> IntArray:
    """Rows that keep one mask of each nest, in rising order; a nest is the outputs of one point (equal prompt_index).

    "most_confident" keeps the best predicted IoU, "smoothest" the best smoothness; where those are equal, the better
    predicted IoU, then the earlier row. InputError for another choice.
    """
    if by not in get_args(NestChoice):
        raise InputError(f"by is 'smoothest' or 'most_confident', got {by!r}")
    merits = masks.predicted_iou.astype(np.float64)
    if by == "smoothest":
        merits = np.array([_smoothness_of(masks, row) for row in range(len(masks))])
    rows = np.arange(len(masks))
    order = np.lexsort((rows, -masks.predicted_iou, -merits, masks.prompt_index))
    _, first = np.unique(masks.prompt_index[order], return_index=True)
    return np.sort(order[first])


def smoothness(mask: BoolArray) -> float:
    """Isoperimetric quotient 4 * pi * area / perimeter ** 2 of a mask (H, W): near 1 for a disc, 0 for an empty mask.

    A ragged edge lowers it, and so do holes, whose edges count, several pieces, and a long thin shape. Digital edges
    are some five percent too long and small masks are crude: it is for comparing masks of one nest.
    """
    contours, hierarchy = cv2.findContours(
        np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    if not contours:
        return 0.0
    is_hole = hierarchy[0, :, 3] >= 0
    lengths = np.array([cv2.arcLength(contour, closed=True) for contour in contours])
    # Contours run through the centres of edge pixels, half a pixel within the mask: that is pi too short around the
    # mask and pi too long around a hole, whatever its size.
    perimeter = float(np.sum(lengths + np.where(is_hole, -math.pi, math.pi)))
    return 4 * math.pi * int(np.count_nonzero(mask)) / perimeter**2


def _smoothness_of(masks: EncodedMasks, row: int) -> float:
    x0, y0, x1, y1 = (int(side) for side in masks.boxes_xyxy[row])
    return smoothness(decode_rle_window(masks.rles[row], (x0, y0, x1 + 1, y1 + 1)))


def _shared(box: Float64Array, others: Float64Array) -> Float64Array:
    """Pixels that a box (4,) shares with each of others (N, 4), whose x1 and y1 lie on the last pixel."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    sides = np.maximum(high - low + 1, 0)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float64)
