"""What a model makes of a few held-out objects, in one picture: masks for a click, a box and three clicks, and the truth.

The objects and the first prompts are the same at every validation, so that pictures of one run can be laid side by side.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segloop.backends.base import Embedding
from segloop.data.image import ImageArray
from segloop.data.sample import Sample
from segloop.errors import InputError
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import mask_iou
from segloop.geometry.overlay import draw_masks, draw_prompt
from segloop.predict.predictor import Predictor
from segloop.prompts.prompt import Prompt
from segloop.prompts.simulate import Click, center_click, center_error_click, truth_box

PICTURES_NAME = "pictures"
NUM_CLICKS = 3
_PANEL_PX, _CAPTION_PX, _GAP_PX = 240, 24, 6
_CONTEXT = 2.5
_LEAST_SIDE_PX = 64
_LEAST_SHARE = 0.002
_PAPER, _INK = 250, (40, 40, 40)
_PREDICTED, _TRUE = 0, 2


def draw_validation(
    predictor: Predictor, samples: Iterable[Sample], num_objects: int = 8
) -> ImageArray:
    """A row of four panels for an object of each sample, until there are num_objects; samples without one are passed over.

    Left to right: the mask of highest predicted IoU for a click at the centre, the mask for the box, the mask after two more
    clicks into the larger error, and the truth. Green clicks say foreground, red ones background. Raises InputError where no
    sample has an object.
    """
    rows: list[ImageArray] = []
    for sample in samples:
        truth = choose_truth(sample)
        if truth is not None:
            rows.append(_draw_object(predictor, sample.image, truth))
        if len(rows) == num_objects:
            break
    if not rows:
        raise InputError("no object to draw: the held-out images have no masks")
    return np.pad(
        _stack(rows, axis=0), ((_GAP_PX, 0), (_GAP_PX, _GAP_PX), (0, 0)), constant_values=_PAPER
    )


def write_picture(folder: Path, step: int, picture: ImageArray) -> Path:
    """Write folder/pictures/STEP.png, whole or not at all; InputError where the disk refuses."""
    path = folder / PICTURES_NAME / f"{step:08d}.png"
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(partial, "PNG")
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def choose_truth(sample: Sample) -> BoolArray | None:
    """The truth (H, W) of one object of an image, drawn by the image's name; None where it has none large enough to see."""
    rng = np.random.default_rng(zlib.crc32(sample.name.encode("utf-8", "surrogatepass")))
    least = _LEAST_SHARE * sample.image.shape[0] * sample.image.shape[1]
    for index in rng.permutation(len(sample.annotations)):
        annotation = sample.annotations[int(index)]
        if not annotation.is_crowd:
            truth = annotation.mask()
            if truth.sum() >= least and truth.any():
                return truth
    return None


@dataclass(frozen=True, eq=False)
class Answer:
    """What was asked about an object, and the mask (H, W) that came; all in the image frame."""

    caption: str
    mask: BoolArray
    clicks: tuple[Click, ...] = ()
    box_xyxy: FloatArray | None = None


def ask(predictor: Predictor, embedding: Embedding, truth: BoolArray) -> tuple[Answer, ...]:
    """The answers to one click, to the box and to NUM_CLICKS clicks."""
    clicks = [Click(center_click(truth), True)]
    answer = predictor.segment(embedding, _prompt(clicks), outputs="best")
    first = Answer("1 click", answer.masks[0], tuple(clicks))
    clicked = np.zeros_like(truth)
    while len(clicks) < NUM_CLICKS:
        x, y = clicks[-1].xy
        clicked[y, x] = True
        clicks.append(center_error_click(truth, answer.masks[0], clicked))
        answer = predictor.segment(embedding, _prompt(clicks, answer.logits[0]), outputs="single")
    last = Answer(f"{NUM_CLICKS} clicks", answer.masks[0], tuple(clicks))
    box = truth_box(truth)
    box[2:] = np.maximum(
        box[2:], box[:2] + 1
    )  # a truth of one row or column has a box without extent
    boxed = predictor.segment(embedding, Prompt(box_xyxy=box), outputs="single")
    return first, Answer("box", boxed.masks[0], box_xyxy=box), last


def _prompt(clicks: Sequence[Click], logits: FloatArray | None = None) -> Prompt:
    labels = [int(click.is_foreground) for click in clicks]
    return Prompt(points_xy=[click.xy for click in clicks], labels=labels, logits=logits)


def _draw_object(predictor: Predictor, image: ImageArray, truth: BoolArray) -> ImageArray:
    answers = ask(predictor, predictor.encode(image), truth)
    view = _View(image, truth)
    panels = [
        view.draw(answer, f"{answer.caption}   IoU {float(mask_iou(answer.mask, truth)):.2f}")
        for answer in answers
    ]
    return _stack([*panels, view.draw(Answer("truth", truth), "truth", _TRUE)], axis=1)


@dataclass(frozen=True, eq=False)
class _View:
    """The part of an image around an object, enlarged or shrunk to a panel."""

    image: ImageArray
    truth: BoolArray
    window: tuple[int, int, int, int] = field(init=False)
    size_hw: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = truth_box(self.truth)
        side = max(_LEAST_SIDE_PX, _CONTEXT * max(x1 - x0 + 1, y1 - y0 + 1))
        height, width = self.truth.shape
        left, right = _around((x0 + x1 + 1) / 2, side, width)
        top, bottom = _around((y0 + y1 + 1) / 2, side, height)
        scale = _PANEL_PX / max(right - left, bottom - top)
        size = max(1, round(scale * (bottom - top))), max(1, round(scale * (right - left)))
        object.__setattr__(self, "window", (left, top, right, bottom))
        object.__setattr__(self, "size_hw", size)

    def draw(self, answer: Answer, caption: str, color: int = _PREDICTED) -> ImageArray:
        """A panel _PANEL_PX wide with the mask, its prompts and a caption below."""
        picture = draw_masks(
            self._cut(self.image), self._cut_mask(answer.mask)[None], first_color=color
        )
        if answer.clicks or answer.box_xyxy is not None:
            points = [click.xy for click in answer.clicks]
            box = answer.box_xyxy
            picture = draw_prompt(
                picture,
                self._place(np.array(points, dtype=np.float32).reshape(-1, 2)),
                [click.is_foreground for click in answer.clicks],
                None if box is None else self._place(box.reshape(2, 2)).reshape(4),
            )
        height, width = self.size_hw
        panel = np.full((height + _CAPTION_PX, _PANEL_PX, 3), _PAPER, dtype=np.uint8)
        left = (_PANEL_PX - width) // 2
        panel[:height, left : left + width] = picture
        return _write(panel, caption)

    def _cut(self, pixels: ImageArray) -> ImageArray:
        x0, y0, x1, y1 = self.window
        shrinks = self.size_hw[0] < y1 - y0
        resized = cv2.resize(
            np.ascontiguousarray(pixels[y0:y1, x0:x1]),
            (self.size_hw[1], self.size_hw[0]),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        return np.asarray(resized, dtype=np.uint8)

    def _cut_mask(self, mask: BoolArray) -> BoolArray:
        return self._cut(mask.astype(np.uint8) * 255) > 127

    def _place(self, points_xy: FloatArray) -> FloatArray:
        x0, y0, x1, y1 = self.window
        scale = np.array([self.size_hw[1] / (x1 - x0), self.size_hw[0] / (y1 - y0)])
        return np.asarray((points_xy - (x0, y0) + 0.5) * scale - 0.5, dtype=np.float32)


def _around(center: float, side: float, length: int) -> tuple[int, int]:
    """Ends of a stretch of about `side` pixels around a place, within 0 to length."""
    wanted = min(length, round(side))
    start = min(max(0, round(center - wanted / 2)), length - wanted)
    return start, start + wanted


def _write(panel: ImageArray, text: str) -> ImageArray:
    canvas = Image.fromarray(panel)
    place = (_PANEL_PX // 2, len(panel) - _CAPTION_PX // 2)
    font = ImageFont.load_default(size=13)
    ImageDraw.Draw(canvas).text(place, text, fill=_INK, font=font, anchor="mm")
    return np.asarray(canvas)


def _stack(parts: Sequence[ImageArray], axis: int) -> ImageArray:
    pad = [(0, 0), (0, 0), (0, 0)]
    pad[axis] = (0, _GAP_PX)
    spaced = [np.pad(one, pad, constant_values=_PAPER) for one in parts[:-1]]
    return np.concatenate([*spaced, parts[-1]], axis=axis)
