"""What a user asks for one object, and the one rule by which such prompts become arrays.

Prompts are in the image frame; packed prompts are in the input frame. The padding point that the model expects
beside points without a box (paper appendix A, official code) is added here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from segloop.errors import InputError
from segloop.geometry.frames import BoolArray, FloatArray, Frame

PADDING, BACKGROUND, FOREGROUND, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT = -1, 0, 1, 2, 3
MASK_MAGNITUDE, BOX_MAGNITUDE = 8.0, 4.0
LARGEST_NUMBER = 1e9
"""More than any coordinate, and far from where 32-bit numbers overflow."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """Everything that describes one object; what is given is used together.

    points_xy: (P, 2) pixels of the image, (x, y). labels: (P,), 1 foreground, 0 background; all foreground if left out.
    box_xyxy: (4,) pixels. mask: (H, W) bool, a rough mask in the image frame. logits: (L, L), the low-resolution logits
    of an earlier answer for the same image and model. text: (C,) a CLIP vector (paper §7.5).
    Raises InputError for shapes that do not fit, numbers that are not finite, or a prompt with nothing in it.
    """

    points_xy: npt.ArrayLike | None = None
    labels: npt.ArrayLike | None = None
    box_xyxy: npt.ArrayLike | None = None
    mask: npt.NDArray[np.generic] | None = None
    logits: FloatArray | None = None
    text: FloatArray | None = None
    _points: FloatArray = field(init=False, repr=False)
    _labels: npt.NDArray[np.int64] = field(init=False, repr=False)
    _box: FloatArray | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        points = _floats(self.points_xy, (-1, 2), "points_xy must be a list of (x, y) pairs")
        given = np.ones(len(points)) if self.labels is None else np.asarray(self.labels).reshape(-1)
        if len(given) != len(points):
            raise InputError(f"{len(points)} points need as many labels, got {len(given)}")
        if not np.isin(given, (BACKGROUND, FOREGROUND)).all():
            raise InputError("a point's label is 1 (foreground) or 0 (background)")
        box = None if self.box_xyxy is None else _box(self.box_xyxy)
        _floats(self.text, (-1,), "a text vector must be numbers")
        if self.mask is not None and self.logits is not None:
            raise InputError("give a mask or the logits of an earlier answer, not both")
        if (
            not len(points)
            and box is None
            and self.mask is None
            and self.logits is None
            and self.text is None
        ):
            raise InputError("an empty prompt: give a point, a box, a mask or a text vector")
        object.__setattr__(self, "_points", points)
        object.__setattr__(self, "_labels", given.astype(np.int64))
        object.__setattr__(self, "_box", box)

    @property
    def is_ambiguous(self) -> bool:
        """True for a single point and nothing else: three masks are the answer (paper §3)."""
        alone = self._box is None and self.mask is None and self.logits is None
        return alone and len(self._points) == 1 and self.text is None

    @property
    def points_and_labels(self) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """Points (P, 2) and labels (P,), both empty where none were given."""
        return self._points, self._labels

    @property
    def corners(self) -> FloatArray | None:
        """The box (4,), with its corners in order."""
        return self._box

    @property
    def foreground_xy(self) -> FloatArray:
        """Points on the object (P, 2)."""
        points: FloatArray = self._points[self._labels == FOREGROUND]
        return points

    def check_inside(self, image_hw: tuple[int, int]) -> None:
        """Raise InputError for a point outside the image, a box that misses it, or a mask of another size."""
        height, width = image_hw
        for x, y in self._points:
            if not (0 <= x <= width and 0 <= y <= height):
                raise InputError(
                    f"point {x:g},{y:g} lies outside the image of {width} x {height} pixels"
                )
        if self._box is not None:
            x0, y0, x1, y1 = self._box
            if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
                raise InputError(
                    f"box {x0:g},{y0:g},{x1:g},{y1:g} lies outside the image of {width} x {height} pixels"
                )
        if self.mask is not None:
            if self.mask.shape != image_hw:
                raise InputError(
                    f"mask is {self.mask.shape}, the image is {image_hw} (height, width)"
                )
            if not np.any(self.mask):
                raise InputError("the mask prompt is empty")


@dataclass(frozen=True, eq=False)
class PackedPrompts:
    """N prompts with the same number of tokens, as the model takes them.

    coords: (N, T, 2) float32 in the input frame. labels: (N, T) int64, -1 padding, 0 background, 1 foreground, 2 and 3 the
    corners of a box. mask_logits: (N, 1, L, L) or None where no prompt has a mask. has_mask: (N,) float32, 1 where it does.
    text: (N, C) or None. index: (N,) which of the given prompts each row is.
    """

    coords: FloatArray
    labels: npt.NDArray[np.int64]
    mask_logits: FloatArray | None
    has_mask: FloatArray
    text: FloatArray | None
    index: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.coords)

    def batches(self, size: int) -> list[PackedPrompts]:
        """All rows in order, at most `size` of them together."""
        return [self.slice(start, start + size) for start in range(0, len(self), size)]

    def slice(self, start: int, stop: int) -> PackedPrompts:
        """Rows start to stop."""
        return PackedPrompts(
            self.coords[start:stop],
            self.labels[start:stop],
            None if self.mask_logits is None else self.mask_logits[start:stop],
            self.has_mask[start:stop],
            None if self.text is None else self.text[start:stop],
            self.index[start:stop],
        )


def pack(
    prompts: Sequence[Prompt], frame: Frame, *, fills_boxes: bool = False
) -> list[PackedPrompts]:
    """Turn prompts of one image into arrays, grouped by number of tokens, so that none sees another's padding.

    A mask given alone brings its box and its innermost point along. With fills_boxes, a box without a mask brings its
    filled rectangle along as one, from which a small model learns sooner than from the corners.
    Raises InputError as Prompt.check_inside does.
    """
    rows: dict[tuple[int, bool, bool], list[tuple[int, _Row]]] = {}
    for index, prompt in enumerate(prompts):
        prompt.check_inside(frame.image_hw)
        row = _pack_one(prompt, frame, fills_boxes)
        key = (len(row.labels), row.mask_logits is not None, row.text is not None)
        rows.setdefault(key, []).append((index, row))
    return [_stack(group) for _, group in sorted(rows.items(), key=lambda item: item[0])]


@dataclass(frozen=True, eq=False)
class _Row:
    coords: FloatArray
    labels: npt.NDArray[np.int64]
    mask_logits: FloatArray | None
    text: FloatArray | None


def _pack_one(prompt: Prompt, frame: Frame, fills_boxes: bool) -> _Row:
    points, labels, box = prompt._points, prompt._labels, prompt._box
    mask_logits = None
    if prompt.logits is not None:
        mask_logits = _earlier_logits(prompt.logits, frame)
    elif prompt.mask is not None:
        mask = np.asarray(prompt.mask) > 0
        mask_logits = mask_prompt_logits(mask, frame)
        if not len(points) and box is None:
            points, labels, box = _describe(mask)
    elif box is not None and fills_boxes:
        mask_logits = box_prompt_logits(frame.boxes_to_logit(box), frame.logit_size)
    coords = [frame.points_to_input(points)]
    kinds = [labels]
    if box is not None:
        coords.append(frame.boxes_to_input(box).reshape(2, 2))
        kinds.append(np.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], dtype=np.int64))
    elif len(points):
        coords.append(np.zeros((1, 2), dtype=np.float32))
        kinds.append(np.array([PADDING], dtype=np.int64))
    return _Row(np.concatenate(coords), np.concatenate(kinds), mask_logits, prompt.text)


def _stack(group: list[tuple[int, _Row]]) -> PackedPrompts:
    rows = [row for _, row in group]
    masks = [row.mask_logits for row in rows if row.mask_logits is not None]
    texts = [row.text for row in rows if row.text is not None]
    return PackedPrompts(
        coords=np.stack([row.coords for row in rows]).astype(np.float32),
        labels=np.stack([row.labels for row in rows]),
        mask_logits=np.stack(masks)[:, None] if masks else None,
        has_mask=np.full(len(rows), 1.0 if masks else 0.0, dtype=np.float32),
        text=np.stack(texts).astype(np.float32) if texts else None,
        index=np.array([index for index, _ in group], dtype=np.int64),
    )


def mask_prompt_logits(mask: BoolArray, frame: Frame) -> FloatArray:
    """Logits (L, L) that say `mask` (H, W) with a fixed confidence, as if an earlier answer had been it."""
    return ((2.0 * frame.mask_to_logit(mask) - 1.0) * MASK_MAGNITUDE).astype(np.float32)


def box_prompt_logits(box_logit_xyxy: FloatArray, logit_size: int) -> FloatArray:
    """Logits (L, L) that say the filled rectangle of a box (4,) in the logit frame, with less confidence than a mask."""
    logits = np.full((logit_size, logit_size), -BOX_MAGNITUDE, dtype=np.float32)
    x0, y0, x1, y1 = np.clip(np.rint(box_logit_xyxy), 0, logit_size - 1).astype(int)
    logits[y0 : y1 + 1, x0 : x1 + 1] = BOX_MAGNITUDE
    return logits


def _describe(mask: BoolArray) -> tuple[FloatArray, npt.NDArray[np.int64], FloatArray]:
    from segloop.prompts.simulate import center_click, truth_box

    point = np.array([center_click(mask)], dtype=np.float32)
    return point, np.array([FOREGROUND], dtype=np.int64), truth_box(mask)


def _earlier_logits(logits: FloatArray, frame: Frame) -> FloatArray:
    array = np.asarray(logits, dtype=np.float32)
    size = (frame.logit_size, frame.logit_size)
    if array.shape != size:
        raise InputError(
            f"logits are {array.shape}, this model's are {size}; for a mask in the image use mask="
        )
    return array


def _floats(values: npt.ArrayLike | None, shape: tuple[int, ...], message: str) -> FloatArray:
    if values is None:
        return np.zeros((0, 2), dtype=np.float32)
    try:
        exact = np.asarray(values, dtype=np.float64).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(message) from error
    if not (np.abs(exact) <= LARGEST_NUMBER).all():
        raise InputError(f"{message}, all finite and of {LARGEST_NUMBER:g} at most")
    return exact.astype(np.float32)


def _box(values: npt.ArrayLike) -> FloatArray:
    box = _floats(values, (4,), "a box is four numbers x0, y0, x1, y1")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise InputError(
            f"box {box[0]:g},{box[1]:g},{box[2]:g},{box[3]:g} is empty: x1 must exceed x0 and y1 must exceed y0"
        )
    return box
