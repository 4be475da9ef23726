"""Masks of one image as aligned columns, and the measures taken of them.

A MaskBatch is a result: it knows neither how it was made nor where it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from segloop.geometry.frames import BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MaskBatch:
    """N masks of one image, one row each in every column.

    masks: (N, H, W) bool in the image frame. predicted_iou, stability_score: (N,) float32.
    prompt_index: (N,) which prompt each mask answers. output_index: (N,) which decoder output it is, 0 the
    single-mask output, 1 to 3 the three ambiguity outputs (paper §3). logits: (N, L, L) float32 in the logit
    frame, the mask prompt of a next round.
    """

    masks: BoolArray
    predicted_iou: FloatArray
    stability_score: FloatArray
    prompt_index: IntArray
    output_index: IntArray
    logits: FloatArray

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def image_hw(self) -> tuple[int, int]:
        """Size of the image in pixels."""
        return int(self.masks.shape[1]), int(self.masks.shape[2])

    @property
    def areas(self) -> IntArray:
        """Pixels in each mask, (N,)."""
        return _count(self.masks)

    @property
    def boxes_xyxy(self) -> FloatArray:
        """Tight boxes (N, 4) in the image frame, see mask_boxes."""
        return mask_boxes(self.masks)

    def select(self, keep: BoolArray | IntArray | Sequence[int]) -> MaskBatch:
        """Keep the rows that a boolean column or a list of indices names, in that order."""
        rows = np.asarray(keep)
        if rows.dtype != np.bool_:
            rows = rows.astype(np.int64)
        return replace(
            self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)}
        )

    def best(self) -> MaskBatch:
        """Keep for each prompt the mask of highest predicted IoU, in the order of the prompts (paper §4)."""
        order = np.lexsort((-self.predicted_iou, self.prompt_index))
        _, first = np.unique(self.prompt_index[order], return_index=True)
        return self.select(order[first])

    @staticmethod
    def concatenate(batches: Sequence[MaskBatch]) -> MaskBatch:
        """Put batches of the same image below one another."""
        return MaskBatch(
            **{
                field.name: np.concatenate([getattr(batch, field.name) for batch in batches])
                for field in fields(MaskBatch)
            }
        )


def mask_boxes(masks: BoolArray) -> FloatArray:
    """Tight boxes (N, 4) as x0, y0, x1, y1 of masks (N, H, W); x1 and y1 lie on the last pixel; 0 for an empty mask."""
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        columns = np.flatnonzero(mask.any(axis=0))
        if len(columns):
            rows = np.flatnonzero(mask.any(axis=1))
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return boxes


def mask_iou(first: BoolArray, second: BoolArray) -> FloatArray:
    """Intersection over union of masks (..., H, W), pair by pair; two empty masks agree perfectly."""
    intersection = _count(np.logical_and(first, second))
    union = _count(np.logical_or(first, second))
    return np.where(union > 0, intersection / np.maximum(union, 1), 1.0).astype(np.float32)


def stability_score(logits: FloatArray, threshold: float = 0.0, offset: float = 1.0) -> FloatArray:
    """IoU of the masks cut at threshold + offset and threshold - offset, from logits (..., H, W) (paper appendix B).

    A mask empty at both cuts is not stable: 0.
    """
    inner = _count(logits > threshold + offset)
    outer = _count(logits > threshold - offset)
    return np.asarray(inner / np.maximum(outer, 1), dtype=np.float32)


def _count(masks: BoolArray) -> IntArray:
    """Pixels set in each of the masks (..., H, W)."""
    # Without an axis count_nonzero runs many times faster than with one.
    flat = masks.reshape(-1, masks.shape[-2] * masks.shape[-1])
    counts = [np.count_nonzero(mask) for mask in flat]
    return np.array(counts, dtype=np.int64).reshape(masks.shape[:-2])
