"""A second look at what is small: the part of the image around a prompt, encoded by itself.

A compact model sees 512 pixels of a photograph, of which a small object has a handful. Around a box it is plain where to
look. A lone click may mean something of any size, so several scales are tried: the mask that the model trusts most is its
answer, and those that come nearest to whatever else may be meant are the other two of three. Interactive segmentation has
long zoomed in on the object (Sofiiuk et al. 2020, "f-BRS", section 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from segloop.backends.base import Embedding
from segloop.geometry.frames import BoolArray, FloatArray, Frame
from segloop.geometry.masks import MaskBatch, mask_boxes
from segloop.geometry.windows import Window
from segloop.prompts.prompt import MASK_MAGNITUDE, Prompt

if TYPE_CHECKING:
    from segloop.predict.predictor import Outputs, Predictor


_OVERLAP_PX = 256


@dataclass(frozen=True)
class CloserConfig:
    """Where to look again; chosen on held-out images of the training sets.

    small: a lone click is looked at again where the mask that the model trusts most is smaller than this, as the square root
    of its share of the image. click_shares: sides of its windows as shares of the image's long side. fills: a mask of more
    than this share of such a window was large enough before, or is cut off by it, and does not count. margin: how many times
    as large as its box or its last mask an object's window is. least_px: no window has a smaller side. most: a window of
    more than this share of the long side shows too little more.
    """

    small: float = 0.2
    click_shares: tuple[float, ...] = (0.5, 0.25, 0.125)
    fills: float = 0.2
    margin: float = 5.0
    least_px: int = 48
    most: float = 0.8


def look_closer(
    predictor: Predictor,
    embedding: Embedding,
    prompts: Sequence[Prompt],
    first: MaskBatch,
    outputs: Outputs,
    config: CloserConfig = CloserConfig(),
) -> MaskBatch:
    """The masks of a first look, or better ones from windows of embedding.pixels, in the same order.

    Of a lone click that was answered by something small, all looks are weighed: one mask is the one that the model trusts
    most, three are those of spread_out. Any other prompt is answered by the closer look. All of them are sharpened, if the
    predictor sharpens.
    """
    assert embedding.pixels is not None
    firsts = [first.select(first.prompt_index == index) for index in range(len(prompts))]
    windows = [
        windows_for(prompt, answer, embedding, config)
        for prompt, answer in zip(prompts, firsts, strict=True)
    ]
    # Those that count, and together, since they share what sharpening knows of the image.
    counts = [one.is_ambiguous or not near for one, near in zip(prompts, windows, strict=True)]
    rows = np.flatnonzero(np.array(counts, dtype=np.bool_)[first.prompt_index])
    sharp = predictor.sharpened(embedding, prompts, first.select(rows))
    answers = []
    for index, prompt in enumerate(prompts):
        answer = sharp.select(sharp.prompt_index == index) if counts[index] else firsts[index]
        has_three = outputs == "three" or (prompt.is_ambiguous and outputs != "single")
        asked: Outputs = "three" if has_three else "single"
        looks = [answer]
        for window in windows[index]:
            closer = _look(predictor, embedding, prompt, window, answer, asked)
            if prompt.is_ambiguous:
                looks.append(closer.select(_fills(closer, window) <= config.fills))
            else:
                looks = [closer]
        found = MaskBatch.concatenate(looks)
        if len(found) > len(answer):
            found = found.best() if len(answer) == 1 else spread_out(found, len(answer))
        answers.append(found)
    return MaskBatch.concatenate([first.select([]), *answers])


def spread_out(found: MaskBatch, count: int) -> MaskBatch:
    """So many of the masks that answer one click, small before large, as outputs 1, 2, ...: they stand for all of them.

    The first is the one of highest predicted IoU. Each further one adds most to the mean, over all masks weighed by their
    predicted IoU, of the best IoU with a chosen one: as if each mask were what is meant as often as it is trusted.
    """
    overlap = _overlaps(found.masks)
    trust = np.maximum(found.predicted_iou, 0.0)
    rows = [int(np.argmax(found.predicted_iou))]
    while len(rows) < count:
        gains = np.maximum(overlap, overlap[rows].max(axis=0)) @ trust
        gains[rows] = -np.inf
        rows.append(int(np.argmax(gains)))
    chosen = found.select(rows)
    chosen = chosen.select(np.argsort(chosen.areas, kind="stable"))
    return replace(chosen, output_index=np.arange(1, count + 1))


def windows_for(
    prompt: Prompt, answer: MaskBatch, embedding: Embedding, config: CloserConfig
) -> list[Window]:
    """Where to look again for a prompt that was answered by these masks."""
    image_hw = embedding.frame.image_hw
    long_side = max(image_hw)
    region = _region(prompt, answer, embedding)
    if region is None:
        return []
    if prompt.is_ambiguous:
        if np.sqrt(answer.best().areas[0] / (image_hw[0] * image_hw[1])) >= config.small:
            return []
        sides = [share * long_side for share in config.click_shares]
    else:
        sides = [config.margin * float(max(region[2:] - region[:2]))]
    windows = [place_window(region, max(side, config.least_px), image_hw) for side in sides]
    return [
        one for one in windows if max(one[2] - one[0], one[3] - one[1]) < config.most * long_side
    ]


def place_window(region_xyxy: FloatArray, side: float, image_hw: tuple[int, int]) -> Window:
    """The square of this side about the middle of a region, moved and cut so that it lies in the image."""
    starts, ends = [], []
    for low, high, length in zip(region_xyxy[:2], region_xyxy[2:], image_hw[::-1], strict=True):
        extent = min(side, length)
        start = min(max((low + high - extent) / 2, 0.0), length - extent)
        starts.append(int(start))
        ends.append(min(length, int(np.ceil(start + extent))))
    return starts[0], starts[1], ends[0], ends[1]


def _region(prompt: Prompt, answer: MaskBatch, embedding: Embedding) -> FloatArray | None:
    """Where the object is (x0, y0, x1, y1) by box, foreground points and the mask they come with, or the answer to them.

    None for a mask alone, which says more of the object than a closer look at it adds.
    """
    box, points = prompt.corners, prompt.foreground_xy
    if box is None and not len(points):
        return None
    boxes = [np.concatenate([point, point + 1]) for point in points]
    if box is not None:
        boxes.append(box)
    if prompt.mask is not None:
        boxes += _boxes_of(np.asarray(prompt.mask)[None] > 0)
    elif prompt.logits is not None:
        boxes += _boxes_of(embedding.frame.logits_to_image(prompt.logits[None]) > 0)
    elif box is None and len(points) > 1:
        boxes += _boxes_of(answer.best().masks)
    stacked = np.stack(boxes)
    region: FloatArray = np.concatenate([stacked[:, :2].min(axis=0), stacked[:, 2:].max(axis=0)])
    return region


def _overlaps(masks: BoolArray) -> FloatArray:
    """IoU (N, N) of masks (N, H, W) with one another, on every so many rows and columns where they are large."""
    y, x = (np.flatnonzero(masks.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not len(y):
        return np.zeros((len(masks), len(masks)), dtype=np.float32)
    step = 1 + max(int(y[-1] - y[0]), int(x[-1] - x[0])) // _OVERLAP_PX
    drawn = masks[:, y[0] : y[-1] + 1 : step, x[0] : x[-1] + 1 : step]
    flat = drawn.reshape(len(masks), -1).astype(np.float32)
    shared, areas = flat @ flat.T, flat.sum(axis=1)
    overlap: FloatArray = shared / np.maximum(areas[:, None] + areas - shared, 1.0)
    return overlap


def _fills(found: MaskBatch, window: Window) -> FloatArray:
    """Shares (N,) of a window that the masks cover."""
    x0, y0, x1, y1 = window
    shares: FloatArray = (found.areas / ((x1 - x0) * (y1 - y0))).astype(np.float32)
    return shares


def _boxes_of(masks: np.ndarray) -> list[FloatArray]:
    return [box for box, mask in zip(mask_boxes(masks), masks, strict=True) if mask.any()]


def _look(
    predictor: Predictor,
    embedding: Embedding,
    prompt: Prompt,
    window: Window,
    answer: MaskBatch,
    outputs: Outputs,
) -> MaskBatch:
    """The same question in a window, and its answer as one about the image."""
    assert embedding.pixels is not None
    x0, y0, x1, y1 = window
    pixels = np.ascontiguousarray(embedding.pixels[y0:y1, x0:x1])
    # As many as there are: the whole image was allowed.
    plain = replace(predictor, closer=False)
    part = plain.encode(pixels, max_pixels=(x1 - x0) * (y1 - y0))
    moved = move_prompt(prompt, window, embedding.frame, part.frame)
    found = plain.segment(part, moved, outputs=outputs)
    masks = np.zeros((len(found), *embedding.frame.image_hw), dtype=np.bool_)
    masks[:, y0:y1, x0:x1] = found.masks
    inside, share = embedding.frame.window_to_logit(
        part.frame.logits_to_image(found.logits), window
    )
    # Outside the window nothing was found.
    logits = np.where(share > 0.5, inside, np.minimum(answer.logits[: len(found)], -1.0))
    return replace(
        found,
        masks=masks,
        logits=logits.astype(np.float32),
        prompt_index=np.full(len(found), answer.prompt_index[0]),
    )


def move_prompt(prompt: Prompt, window: Window, whole: Frame, part: Frame) -> Prompt:
    """The prompt in the frame of a window; points outside it are left out."""
    x0, y0, x1, y1 = window
    origin = np.array([x0, y0], dtype=np.float32)
    points, labels = prompt.points_and_labels
    is_inside = ((points >= origin) & (points <= (x1, y1))).all(axis=1)
    logits = mask = None
    if prompt.logits is not None:
        values = whole.logits_in_window(prompt.logits, window)[None]
        around, share = part.window_to_logit(values, (0, 0, x1 - x0, y1 - y0))
        logits = np.where(share > 0.0, around, -MASK_MAGNITUDE).astype(np.float32)[0]
    elif prompt.mask is not None:
        mask = np.asarray(prompt.mask)[y0:y1, x0:x1]
    return replace(
        prompt,
        points_xy=points[is_inside] - origin,
        labels=labels[is_inside],
        box_xyxy=None if prompt.corners is None else prompt.corners - np.tile(origin, 2),
        logits=logits,
        mask=mask,
    )
