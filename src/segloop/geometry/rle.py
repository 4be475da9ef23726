"""COCO run-length encoding, the mask format of SA-1B (paper §5).

Runs go down the columns; `counts` is the compressed text of pycocotools, which does the work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from segloop.errors import InputError
from segloop.geometry.frames import BoolArray


@dataclass(frozen=True)
class Rle:
    """One mask in compressed run-length form; size_hw in pixels."""

    size_hw: tuple[int, int]
    counts: str

    def to_json(self) -> dict[str, Any]:
        """The COCO and SA-1B dictionary: size [height, width] and counts."""
        return {"size": list(self.size_hw), "counts": self.counts}

    @staticmethod
    def from_json(record: dict[str, Any]) -> Rle:
        """Read the COCO dictionary; uncompressed counts (a list of run lengths) are accepted.

        Raises InputError when keys are missing or counts are of another kind.
        """
        try:
            height, width = (int(side) for side in record["size"])
            counts = record["counts"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("a COCO mask needs 'size': [height, width] and 'counts'") from error
        if isinstance(counts, list):
            if not _are_runs_of(counts, height * width):
                raise InputError(f"a mask's run lengths do not fit its size {(height, width)}")
            counts = _compress(counts, (height, width))
        if isinstance(counts, bytes):
            counts = counts.decode("ascii")
        if not isinstance(counts, str):
            raise InputError("'counts' of a COCO mask must be text or a list of run lengths")
        return Rle((height, width), counts)


def encode_rle(mask: BoolArray) -> Rle:
    """Compress a mask (H, W)."""
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return Rle((int(mask.shape[0]), int(mask.shape[1])), _text(packed["counts"]))


def encode_rle_window(
    pixels: BoolArray, origin_xy: tuple[int, int], size_hw: tuple[int, int]
) -> Rle:
    """Compress a mask that is pixels (h, w) with its first pixel at origin_xy, and nothing elsewhere in size_hw."""
    height, width = size_hw
    x, y = origin_xy
    assert 0 <= x <= x + pixels.shape[1] <= width
    assert 0 <= y <= y + pixels.shape[0] <= height
    if not pixels.size:
        return Rle(size_hw, _compress([height * width], size_hw))
    # One column after another with a blank at either end, so that every run has a start and an end.
    columns = np.zeros((pixels.shape[1], pixels.shape[0] + 2), dtype=np.uint8)
    columns[:, 1:-1] = cv2.transpose(pixels.view(np.uint8))
    flat = columns.ravel()
    column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), columns.shape[1])
    bounds = (x + column) * height + y + row
    # A run that reaches the foot of a column goes on at the head of the next one.
    joins = bounds[1:] == bounds[:-1]
    bounds = bounds[~(np.append(joins, False) | np.append(False, joins))] if len(bounds) else bounds
    runs = np.diff(bounds, prepend=0, append=height * width).tolist()
    if len(bounds) and runs[-1] == 0:
        runs.pop()
    return Rle(size_hw, _compress(runs, size_hw))


def decode_rle(rle: Rle) -> BoolArray:
    """Restore the mask (H, W); InputError where the runs do not fill the size."""
    # The library fills what is missing with zeros and reads past the end of what is cut short.
    run_ends(rle)
    mask = coco_mask.decode({"size": list(rle.size_hw), "counts": rle.counts.encode("ascii")})
    return np.asarray(mask, dtype=np.bool_)


def decode_rle_window(rle: Rle, window_xyxy: tuple[int, int, int, int]) -> BoolArray:
    """The part mask[y0:y1, x0:x1] of a mask, in the time of that part's columns; InputError as in decode_rle."""
    x0, y0, x1, y1 = window_xyxy
    height, width = rle.size_hw
    assert 0 <= x0 <= x1 <= width
    assert 0 <= y0 <= y1 <= height
    ends = run_ends(rle)
    bounds = np.clip(np.concatenate([[0], ends]), x0 * height, x1 * height)
    first, last = np.searchsorted(ends, [x0 * height, x1 * height])
    inside = slice(int(first), min(int(last) + 1, len(ends)))
    lengths = np.diff(bounds)[inside]
    colors = (np.arange(len(ends))[inside] % 2).astype(np.bool_)
    columns = np.repeat(colors, lengths).reshape(x1 - x0, height)
    return np.ascontiguousarray(columns.T[y0:y1])


def run_ends(rle: Rle) -> npt.NDArray[np.int64]:
    """Where each run ends, counted in pixels down the columns; runs of false and true take turns, false first.

    Raises InputError where they do not fill the mask's size.
    """
    runs = _run_lengths(rle.counts)
    ends = None if runs is None else np.cumsum(runs)
    if ends is None or ends[-1] != rle.size_hw[0] * rle.size_hw[1]:
        raise InputError(f"a mask's run lengths do not fit its size {rle.size_hw}")
    return ends


def _run_lengths(counts: str) -> npt.NDArray[np.int64] | None:
    """The runs in compressed counts, None where they are broken.

    Five bits a character, lowest first, the sixth set where more follow; from the fourth on a run is the difference to
    the one two before.
    """
    codes = np.frombuffer(counts.encode("latin-1", "replace"), dtype=np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:
        return None
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    values = np.where(codes[ends] & 16, values - (1 << (5 * lengths)), values)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values if values.min() >= 0 else None


def _are_runs_of(runs: list[Any], num_pixels: int) -> bool:
    """Whether these are lengths that add up to so many pixels."""
    return all(isinstance(run, int) and run >= 0 for run in runs) and sum(runs) == num_pixels


def _compress(runs: list[Any], size_hw: tuple[int, int]) -> str:
    height, width = size_hw
    # The stubs know only a polygon or a compressed mask here; the library takes run lengths as well.
    record: Any = {"size": [height, width], "counts": runs}
    return _text(coco_mask.frPyObjects(record, height, width)["counts"])


def _text(counts: str | bytes) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts
