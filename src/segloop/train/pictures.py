"""What a model makes of a few held-out objects, in one picture: masks for a click, a box and three clicks, and the truth.

The objects and the first prompts are the same at every validation, so that pictures of one run can be laid side by side.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from segloop.backends.base import Embedding
from segloop.data.image import ImageArray
from segloop.data.sample import Sample
from segloop.errors import InputError
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import mask_iou
from segloop.geometry.panels import TRUE, View, frame_panels, stack_panels
from segloop.predict.predictor import Predictor
from segloop.prompts.prompt import Prompt
from segloop.prompts.simulate import Click, center_click, center_error_click, open_box, truth_box

PICTURES_NAME = "pictures"
NUM_CLICKS = 3
_LEAST_SHARE = 0.002


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
    return frame_panels(stack_panels(rows, axis=0))


def picture_path(folder: Path, step: int) -> Path:
    """Where the picture of a step's validation lies."""
    return folder / PICTURES_NAME / f"{step:08d}.png"


def write_picture(folder: Path, step: int, picture: ImageArray) -> Path:
    """Write folder/pictures/STEP.png, whole or not at all; InputError where the disk refuses."""
    path = picture_path(folder, step)
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
    box = open_box(truth_box(truth))
    boxed = predictor.segment(embedding, Prompt(box_xyxy=box), outputs="single")
    return first, Answer("box", boxed.masks[0], box_xyxy=box), last


def _prompt(clicks: Sequence[Click], logits: FloatArray | None = None) -> Prompt:
    labels = [int(click.is_foreground) for click in clicks]
    return Prompt(points_xy=[click.xy for click in clicks], labels=labels, logits=logits)


def _draw_object(predictor: Predictor, image: ImageArray, truth: BoolArray) -> ImageArray:
    answers = ask(predictor, predictor.encode(image), truth)
    view = View(image, truth)
    panels = [
        view.draw(
            answer.mask,
            f"{answer.caption}   IoU {float(mask_iou(answer.mask, truth)):.2f}",
            points_xy=[click.xy for click in answer.clicks],
            labels=[click.is_foreground for click in answer.clicks],
            box_xyxy=answer.box_xyxy,
        )
        for answer in answers
    ]
    return stack_panels([*panels, view.draw(truth, "truth", color=TRUE)], axis=1)
