"""A flat picture of many masks: each pixel belongs to one of them or to none.

Masks are painted one after another, the one that shall win last, so that one is decoded at a time.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.masks import IntArray
from segloop.geometry.rle import decode_rle_window

LabelOrder = Literal["area", "predicted_iou"]
MAX_LABELS = int(np.iinfo(np.uint16).max)


def label_map(masks: EncodedMasks, order: LabelOrder = "area") -> npt.NDArray[np.uint16]:
    """Labels (H, W) that do not overlap: 0 where no mask is, otherwise the row of the mask plus 1.

    order says who wins a pixel that several masks cover. "area": the smaller mask, so that parts stay visible on their
    wholes; of equal areas the better predicted IoU. "predicted_iou": the better predicted IoU; of equal ones the smaller
    mask. In a draw the earlier row wins. A mask that others cover altogether leaves no pixel, and no label is renumbered
    for that. InputError for more than 65535 masks.
    """
    if len(masks) > MAX_LABELS:
        raise InputError(
            f"a label map holds at most {MAX_LABELS} masks, got {len(masks)}; select fewer"
        )
    labels = np.zeros(masks.image_hw, dtype=np.uint16)
    for row in _winners_last(masks, order):
        if masks.areas[row]:
            x0, y0, x1, y1 = (int(side) for side in masks.boxes_xyxy[row])
            pixels = decode_rle_window(masks.rles[row], (x0, y0, x1 + 1, y1 + 1))
            labels[y0 : y1 + 1, x0 : x1 + 1][pixels] = row + 1
    return labels


def _winners_last(masks: EncodedMasks, order: LabelOrder) -> IntArray:
    """Rows in the order they are painted in."""
    if order not in get_args(LabelOrder):
        raise InputError(f"order is 'area' or 'predicted_iou', got {order!r}")
    rows = np.arange(len(masks))
    # The last key sorts first.
    if order == "area":
        return np.lexsort((-rows, masks.predicted_iou, -masks.areas))
    return np.lexsort((-rows, -masks.areas, masks.predicted_iou))
