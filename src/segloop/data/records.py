"""What the records of every annotation file are held to: numbers of their own, and measures that can be."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from segloop.errors import InputError

Record = dict[str, Any]


def index_by_id(items: Sequence[Record], kind: str) -> dict[int, Record]:
    """Records by their numbers, in the order of the file; InputError where two of a kind have the same."""
    found = {int(item["id"]): item for item in items}
    if len(found) != len(items):
        counts = Counter(int(item["id"]) for item in items)
        twice = next(number for number, count in counts.items() if count > 1)
        raise InputError(f"more than one {kind} has the number {twice}")
    return found


def check_extent(bbox_xywh: tuple[float, float, float, float], area: float) -> None:
    """Raises InputError for a box or an area that no mask has."""
    sizes = (*bbox_xywh[2:], area)
    if not all(map(math.isfinite, (*bbox_xywh, area))) or min(sizes) < 0:
        raise InputError("its box and area must be finite numbers, no side and no area below 0")


def check_scores(scores: Iterable[float]) -> None:
    """Raises InputError for a predicted IoU or stability that is no number; a model may predict less than 0."""
    if not all(map(math.isfinite, scores)):
        raise InputError("its predicted IoU and stability must be finite numbers")
