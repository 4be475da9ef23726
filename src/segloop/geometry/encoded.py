"""Masks of one image kept as run lengths: thousands of them, where a MaskBatch would hold a few.

Columns as in a MaskBatch. A thousand masks of a 12-megapixel photograph take a few megabytes here and 12 gigabytes there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import IntArray, mask_boxes
from segloop.geometry.rle import Rle, decode_rle, encode_rle


@dataclass(frozen=True, eq=False)
class EncodedMasks:
    """N masks of one image, one row each in every column.

    image_hw: size of the image in pixels. rles: N masks of that size. boxes_xyxy: (N, 4) float32 tight boxes whose x1 and
    y1 lie on the last pixel, see mask_boxes. areas: (N,) pixels. predicted_iou, stability_score: (N,) float32. points_xy:
    (N, 2) float32, the point each mask answers, in the image frame. crop_boxes_xyxy: (N, 4) float32, the part of the image
    it was made from, x1 and y1 exclusive. prompt_index: (N,) which point of the run; the outputs of one point share it.
    output_index: (N,) which decoder output, 1 to 3 (paper §3).
    """

    image_hw: tuple[int, int]
    rles: tuple[Rle, ...]
    boxes_xyxy: FloatArray
    areas: IntArray
    predicted_iou: FloatArray
    stability_score: FloatArray
    points_xy: FloatArray
    crop_boxes_xyxy: FloatArray
    prompt_index: IntArray
    output_index: IntArray

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.rles)

    def mask(self, row: int) -> BoolArray:
        """Mask `row` (H, W), decoded now."""
        return decode_rle(self.rles[row])

    def select(self, keep: BoolArray | IntArray | Sequence[int]) -> EncodedMasks:
        """Keep the rows that a boolean column or a list of indices names, in that order."""
        rows = np.asarray(keep)
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS if name != "rles"}
        return replace(self, rles=tuple(self.rles[row] for row in rows), **columns)

    @staticmethod
    def concatenate(batches: Sequence[EncodedMasks]) -> EncodedMasks:
        """Put batches of the same image below one another; ValueError for none, or for images of different sizes."""
        sizes = {batch.image_hw for batch in batches}
        if len(sizes) != 1:
            raise ValueError(f"batches are of one image, got sizes {sorted(sizes)}")
        columns = {
            name: np.concatenate([getattr(batch, name) for batch in batches])
            for name in _COLUMNS
            if name != "rles"
        }
        rles = tuple(rle for batch in batches for rle in batch.rles)
        return EncodedMasks(sizes.pop(), rles, **columns)

    @staticmethod
    def encode(masks: BoolArray, **columns: FloatArray | IntArray) -> EncodedMasks:
        """Masks (N, H, W) of any origin; columns that are not given: full scores, points at 0, 0, one prompt a mask."""
        count, height, width = masks.shape
        scores = np.ones(count, dtype=np.float32)
        others: dict[str, Any] = {
            "predicted_iou": scores,
            "stability_score": scores,
            "points_xy": np.zeros((count, 2), dtype=np.float32),
            "crop_boxes_xyxy": np.tile(
                np.array([0, 0, width, height], dtype=np.float32), (count, 1)
            ),
            "prompt_index": np.arange(count),
            "output_index": np.ones(count, dtype=np.int64),
        }
        return EncodedMasks(
            image_hw=(height, width),
            rles=tuple(encode_rle(mask) for mask in masks),
            boxes_xyxy=mask_boxes(masks),
            areas=np.count_nonzero(masks, axis=(1, 2)),
            **{**others, **columns},
        )

    @staticmethod
    def none(image_hw: tuple[int, int]) -> EncodedMasks:
        """No masks of an image of this size."""
        counts, boxes = np.zeros(0, dtype=np.int64), np.zeros((0, 4), dtype=np.float32)
        scores, points = np.zeros(0, dtype=np.float32), np.zeros((0, 2), dtype=np.float32)
        return EncodedMasks(
            image_hw, (), boxes, counts, scores, scores, points, boxes, counts, counts
        )


_COLUMNS = tuple(field.name for field in fields(EncodedMasks) if field.name != "image_hw")
