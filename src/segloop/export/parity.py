"""How far two backends agree on one model: the proof an exporter owes before it hands a model over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segloop.backends.base import Backend, BackendSpec
from segloop.data.image import ImageArray
from segloop.data.transforms import prepare_input
from segloop.geometry.frames import FloatArray, Frame
from segloop.prompts.prompt import (
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    MASK_MAGNITUDE,
    PADDING,
    PackedPrompts,
)

_BOX = (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT)


@dataclass(frozen=True)
class Agreement:
    """The worst over all cases.

    Differences are the largest absolute ones, those of features and logits as a share of their root mean square;
    mask_iou is that of all mask pixels of a case taken together.
    """

    num_cases: int
    feature_difference: float
    logit_difference: float
    predicted_iou_difference: float
    mask_iou: float


@dataclass(frozen=True)
class Case:
    """Prompts of one shape: the labels each has, how many there are, and which of them carry a mask."""

    num_prompts: int
    labels: tuple[int, ...]
    has_mask: tuple[int, ...] = ()


CASES = (
    Case(1, (FOREGROUND, PADDING)),
    Case(5, (FOREGROUND, PADDING)),
    Case(3, _BOX),
    Case(2, (BACKGROUND, *_BOX)),
    Case(3, (FOREGROUND, BACKGROUND) * 4 + (FOREGROUND, PADDING)),
    Case(2, (FOREGROUND,) * 40 + (PADDING,)),
    Case(1, (FOREGROUND, PADDING), (1,)),
    Case(3, _BOX, (1, 1, 1)),
    Case(3, (FOREGROUND, PADDING), (1, 0, 1)),
    Case(1, (), (1,)),
    Case(2, (), (1, 1)),
)


def compare_backends(first: Backend, second: Backend, seed: int = 0) -> Agreement:
    """Run both over every case on one drawn image, each with its own embedding."""
    random = np.random.default_rng(seed)
    spec = first.spec
    image = draw_image(spec.input_size, random)
    frame = Frame((image.shape[0], image.shape[1]), spec.input_size, spec.logit_size)
    prepared = prepare_input(image, frame)
    features = first.encode(prepared), second.encode(prepared)
    differences, ious = [], []
    for case in CASES:
        prompts = make_prompts(case, spec, random)
        (logits, iou), (other_logits, other_iou) = (
            backend.decode(own, prompts)
            for backend, own in zip((first, second), features, strict=True)
        )
        differences.append((_relative(logits, other_logits), float(np.abs(iou - other_iou).max())))
        ious.append(_pooled_iou(logits, other_logits))
    return Agreement(
        num_cases=len(CASES),
        feature_difference=_relative(*features),
        logit_difference=max(logit for logit, _ in differences),
        predicted_iou_difference=max(iou for _, iou in differences),
        mask_iou=min(ious),
    )


def draw_image(size: int, random: np.random.Generator) -> ImageArray:
    """A picture (3/4 size, size, 3) of coloured blocks with some noise, lower than wide so that padding takes part."""
    height = max(1, 3 * size // 4)
    image = np.full((height, size, 3), random.integers(0, 256, 3), dtype=np.float64)
    for _ in range(12):
        y, x = random.integers(0, height), random.integers(0, size)
        image[y : y + random.integers(1, height), x : x + random.integers(1, size)] = (
            random.integers(0, 256, 3)
        )
    image += random.normal(0.0, 8.0, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def make_prompts(case: Case, spec: BackendSpec, random: np.random.Generator) -> PackedPrompts:
    """Prompts of the case at random places; a mask prompt is a disk."""
    num = case.num_prompts
    labels = np.tile(np.array(case.labels, dtype=np.int64), (num, 1))
    coords = random.uniform(0, spec.input_size, (num, len(case.labels), 2)).astype(np.float32)
    coords[labels == PADDING] = 0.0
    corners = np.isin(labels, _BOX)
    if corners.any():
        pairs = coords[corners].reshape(num, 2, 2)
        coords[corners] = np.sort(pairs, axis=1).reshape(-1, 2)
    has_mask = np.array(case.has_mask or (0,) * num, dtype=np.float32)
    masks = [_disk(spec.logit_size, random) for _ in case.has_mask]
    return PackedPrompts(
        coords=coords,
        labels=labels,
        mask_logits=np.stack(masks)[:, None] if masks else None,
        has_mask=has_mask,
        text=None,
        index=np.arange(num),
    )


def _disk(size: int, random: np.random.Generator) -> FloatArray:
    y, x = np.mgrid[:size, :size]
    center_y, center_x = random.uniform(0.2, 0.8, 2) * size
    inside = np.hypot(y - center_y, x - center_x) < random.uniform(0.1, 0.4) * size
    return np.where(inside, MASK_MAGNITUDE, -MASK_MAGNITUDE).astype(np.float32)


def _relative(first: FloatArray, second: FloatArray) -> float:
    scale = float(np.sqrt(np.mean(np.square(first, dtype=np.float64))))
    return float(np.abs(first - second).max()) / max(scale, 1e-12)


def _pooled_iou(first: FloatArray, second: FloatArray) -> float:
    one, other = first > 0, second > 0
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0
