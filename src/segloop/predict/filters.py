"""The filters of automatic masks, each a question to the columns of EncodedMasks (paper appendix B).

A filter returns a boolean column, or the rows it keeps in their new order; it changes no mask. The one that does,
clean_regions, says which rows it changed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray
from segloop.geometry.masks import IntArray, mask_boxes
from segloop.geometry.regions import drop_small_islands, fill_small_holes
from segloop.geometry.rle import encode_rle
from segloop.geometry.suppression import suppress_boxes, suppress_masks

# A side of a box within so many pixels of a border lies on it.
EDGE_TOLERANCE_PX = 20.0


def stable(masks: EncodedMasks, threshold: float) -> BoolArray:
    """Masks whose stability score is at least threshold."""
    return np.asarray(masks.stability_score >= threshold)


def not_covering(masks: EncodedMasks, share: float) -> BoolArray:
    """Masks that cover less than this share of the image."""
    height, width = masks.image_hw
    return np.asarray(masks.areas < share * height * width)


def whole(masks: EncodedMasks) -> BoolArray:
    """Masks that no border of their crop cuts off: those with a side there go, unless it is the image's border too."""
    height, width = masks.image_hw
    image_box = np.array([0, 0, width, height], dtype=np.float32)
    at_crop = np.abs(masks.boxes_xyxy - masks.crop_boxes_xyxy) <= EDGE_TOLERANCE_PX
    at_image = np.abs(masks.boxes_xyxy - image_box) <= EDGE_TOLERANCE_PX
    return np.asarray(~(at_crop & ~at_image).any(axis=1))


def distinct_boxes(masks: EncodedMasks, threshold: float) -> IntArray:
    """Of masks whose boxes overlap by an IoU above threshold, the one of highest predicted IoU."""
    return suppress_boxes(masks.boxes_xyxy, masks.predicted_iou, threshold)


def distinct_across_crops(masks: EncodedMasks, threshold: float) -> IntArray:
    """Of masks whose boxes overlap by an IoU above threshold, the one from the smallest crop."""
    sides = masks.crop_boxes_xyxy[:, 2:] - masks.crop_boxes_xyxy[:, :2]
    return suppress_boxes(masks.boxes_xyxy, 1.0 / sides.prod(axis=1), threshold)


def distinct_masks(masks: EncodedMasks, threshold: float) -> IntArray:
    """Of masks that overlap by an IoU above threshold, the one of highest predicted IoU."""
    return suppress_masks(masks, masks.predicted_iou, threshold)


def preferring(masks: EncodedMasks, preferred: npt.NDArray[np.bool_], threshold: float) -> IntArray:
    """Of masks whose boxes overlap by an IoU above threshold, a preferred one, or else the first."""
    return suppress_boxes(masks.boxes_xyxy, preferred.astype(np.float32), threshold)


def clean_regions(
    masks: EncodedMasks, min_area_px: int, *, keeps_largest: bool = True
) -> tuple[EncodedMasks, BoolArray]:
    """The masks without holes and then islands of under min_area_px, and which of them were so from the start.

    keeps_largest: see drop_small_islands; without it a mask may come back empty.
    """
    rles, boxes, areas = list(masks.rles), masks.boxes_xyxy.copy(), masks.areas.copy()
    untouched = np.ones(len(masks), dtype=np.bool_)
    for row in range(len(masks)):
        mask = masks.mask(row)
        filled = fill_small_holes(mask, min_area_px)
        cleaned = drop_small_islands(filled, min_area_px, keeps_largest=keeps_largest)
        if cleaned is not mask:
            untouched[row] = False
            rles[row] = encode_rle(cleaned)
            boxes[row] = mask_boxes(cleaned[None])[0]
            areas[row] = np.count_nonzero(cleaned)
    return replace(masks, rles=tuple(rles), boxes_xyxy=boxes, areas=areas), untouched
