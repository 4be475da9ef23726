"""Greedy suppression of duplicates: by boxes, as the released generator does, or by the masks themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import FloatArray
from segloop.geometry.masks import IntArray

_TINY = np.finfo(np.float32).tiny


def suppress_boxes(boxes_xyxy: FloatArray, scores: FloatArray, threshold: float) -> IntArray:
    """Rows kept, best score first: each box whose IoU with a better one that is kept exceeds threshold goes.

    Boxes (N, 4) have the area (x1 - x0) * (y1 - y0); of equal scores (N,) the earlier row is better.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes_xyxy[order].astype(np.float32)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting = np.arange(len(order))
    kept = []
    while len(waiting):
        first, rest = waiting[0], waiting[1:]
        kept.append(order[first])
        shared = _intersection(boxes[first], boxes[rest])
        union = areas[first] + areas[rest] - shared
        # A quotient rounds as the threshold did, so an equal one does not exceed it; no area at all shares 0.
        waiting = rest[~(shared / np.maximum(union, _TINY) > threshold)]
    return np.array(kept, dtype=np.int64)


def suppress_masks(masks: EncodedMasks, scores: FloatArray, threshold: float) -> IntArray:
    """Rows kept, best score first, as suppress_boxes does but by the IoU of the masks.

    Near-duplicates whose boxes differ, and different things in one box, are told apart at the cost of some time.
    """
    order = np.argsort(-scores, kind="stable")
    # The stubs know compressed runs as text only where the library wants bytes.
    runs: list[Any] = [
        {"size": list(rle.size_hw), "counts": rle.counts.encode()} for rle in masks.rles
    ]
    boxes = masks.boxes_xyxy + np.array([0, 0, 1, 1], dtype=np.float32)
    kept: list[int] = []
    for row in order:
        touching = [kept[i] for i in np.flatnonzero(_intersection(boxes[row], boxes[kept]) > 0)]
        # Where areas differ too much the IoU cannot exceed the threshold.
        ratio = np.minimum(masks.areas[touching], masks.areas[row]) / np.maximum(
            np.maximum(masks.areas[touching], masks.areas[row]), 1
        )
        rivals = [one for one, share in zip(touching, ratio, strict=True) if share > threshold]
        if rivals:
            overlaps = coco_mask.iou([runs[row]], [runs[one] for one in rivals], [0] * len(rivals))
            if np.max(overlaps) > threshold:
                continue
        kept.append(int(row))
    return np.array(kept, dtype=np.int64)


def _intersection(box: FloatArray, others: FloatArray) -> FloatArray:
    """Area shared by a box (4,) and each of others (N, 4)."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)
