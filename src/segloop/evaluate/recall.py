"""Which true masks of an image are found by proposals in the order of their rank, counted as COCO does.

Average recall is the share of them found, at mask IoU .50 to .95 by .05.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from segloop.data.sample import Annotation, Frequency
from segloop.evaluate.truth import relative_size
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray
from segloop.geometry.rle import Rle

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
# COCO's, in pixels. Both ends belong to a range, so that 32^2 is small and medium, 96^2 medium and large.
SIZE_RANGES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}

IouTable = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TruthScores:
    """How well one true mask was found.

    area: pixels, as annotated. best_iou: over all proposals, whichever mask they were counted for. found: share of the IoU
    thresholds at which a proposal was left for it. found_in_size: the same among the true masks of its size alone;
    found_in_frequency: among those of categories as frequent, None where the dataset does not say. larger_size: where the
    area lies on the border of two sizes, the other one, with found_in_larger_size. relative_size: square root of the share
    of the image.
    """

    image: str
    annotation_id: int
    category: str | None
    area: float
    size: str
    best_iou: float
    found: float
    found_in_size: float
    frequency: Frequency | None = None
    found_in_frequency: float | None = None
    larger_size: str | None = None
    found_in_larger_size: float | None = None
    relative_size: float | None = None

    def found_in(self, size: str) -> float | None:
        """Share of the IoU thresholds at which it was found among the true masks of this size; None if it is of another."""
        found = {self.size: self.found_in_size, self.larger_size: self.found_in_larger_size}
        return found.get(size)


def score_truths(
    image: str, annotations: tuple[Annotation, ...], proposals: EncodedMasks
) -> list[TruthScores]:
    """Scores of the true masks of one image; proposals in the order of their rank."""
    if not annotations:
        return []
    ious = iou_table(proposals.rles, tuple(one.rle for one in annotations))
    sizes = [sizes_of(one.area) for one in annotations]
    frequencies = [one.frequency for one in annotations]
    found = find_truths(ious).mean(axis=0)
    in_size = {
        size: _found_among(ious, np.array([size in own for own in sizes])) for size in SIZE_RANGES
    }
    in_frequency = {
        frequency: _found_among(ious, np.array([frequency == own for own in frequencies]))
        for frequency in get_args(Frequency)
    }
    best = ious.max(axis=0, initial=0.0)
    return [
        TruthScores(
            image=image,
            annotation_id=one.id,
            category=one.category,
            area=one.area,
            size=size,
            best_iou=float(best[column]),
            found=float(found[column]),
            found_in_size=float(in_size[size][column]),
            frequency=one.frequency,
            found_in_frequency=one.frequency and float(in_frequency[one.frequency][column]),
            larger_size=larger[0] if larger else None,
            found_in_larger_size=float(in_size[larger[0]][column]) if larger else None,
            relative_size=relative_size(one.mask()),
        )
        for column, (one, (size, *larger)) in enumerate(zip(annotations, sizes, strict=True))
    ]


def find_truths(ious: IouTable, thresholds: tuple[float, ...] = IOU_THRESHOLDS) -> BoolArray:
    """Which of M true masks are found at each of T thresholds, (T, M), by N proposals in the order of their rank.

    ious: (N, M). One after another a proposal takes the true mask it fits best among those not yet taken, as in COCO.
    """
    found = np.zeros((len(thresholds), ious.shape[1]), dtype=np.bool_)
    for row, threshold in zip(found, thresholds, strict=True):
        # A proposal below the threshold everywhere takes nothing.
        for fit in ious[(ious >= threshold).any(axis=1)]:
            open_fit = np.where(row, -1.0, fit)
            # Of equal fits COCO takes the last.
            column = len(fit) - 1 - int(np.argmax(open_fit[::-1]))
            if open_fit[column] >= threshold:
                row[column] = True
            if row.all():
                break
    return found


def iou_table(proposals: tuple[Rle, ...], truths: tuple[Rle, ...]) -> IouTable:
    """IoU of N proposals with M true masks, (N, M)."""
    if not proposals or not truths:
        return np.zeros((len(proposals), len(truths)))
    table = coco_mask.iou(_records(proposals), _records(truths), [0] * len(truths))
    return np.asarray(table, dtype=np.float64)


def sizes_of(area: float) -> tuple[str, ...]:
    """COCO's names for an area in pixels: small, medium or large, or two of them on the border between."""
    return tuple(name for name, (low, high) in SIZE_RANGES.items() if low <= area <= high)


def _found_among(ious: IouTable, is_in: BoolArray) -> npt.NDArray[np.float64]:
    """Share of the thresholds at which each true mask is found among those alone that is_in (M,) names, (M,); else 0."""
    found = np.zeros(len(is_in))
    found[is_in] = find_truths(ious[:, is_in]).mean(axis=0)
    return found


def _records(rles: tuple[Rle, ...]) -> list[Any]:
    # The stubs know compressed runs as text only where the library wants bytes.
    return [{"size": list(rle.size_hw), "counts": rle.counts.encode()} for rle in rles]
