"""An endless, repeatable stream of training items: item i is the same whoever asks, and whenever.

A dataset is drawn by weight, then an image, then some of its masks, so that a set with many masks an image does not drown
the others. Because every item depends on the seed and its number alone, a run resumes exactly and workers need no state.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segloop.data.augment import Augmentation, View, change_color, choose_view
from segloop.data.sample import Annotation, SampleSet
from segloop.data.transforms import normalize_and_pad, resize_image
from segloop.errors import InputError
from segloop.geometry.coverage import cover_grid
from segloop.geometry.frames import BoolArray, FloatArray, Frame
from segloop.geometry.rle import Rle
from segloop.geometry.windows import Window

Part = Literal["train", "validation", "all"]
_ATTEMPTS = 20
_VALIDATION_SHARE = 25


@dataclass(frozen=True, eq=False)
class TrainingItem:
    """One prepared image (3, S, S) and the truths (M, L, L) of M objects in the logit frame; seed decides the prompts."""

    name: str
    image: FloatArray
    truths: BoolArray
    seed: int


@dataclass(frozen=True)
class SampleStream:
    """What to draw from, and how items are prepared.

    weights go with datasets. max_masks caps the objects of an image; repeats is how often one object may stand in an item
    when there are fewer. Masks over 90% of the image are left out (paper appendix A), and so are those under min_pixels in
    the logit frame, which the model cannot draw. logit_size is the side of the truths.
    """

    datasets: tuple[SampleSet, ...]
    weights: tuple[float, ...]
    input_size: int
    logit_size: int
    max_masks: int
    seed: int
    augmentation: Augmentation
    repeats: int = 1
    min_pixels: int = 12
    part: Part = "train"

    def __post_init__(self) -> None:
        fits = len(self.weights) == len(self.datasets) and min(self.weights, default=0) >= 0
        if not fits or sum(self.weights) <= 0:
            raise InputError(
                f"{len(self.datasets)} datasets need as many weights, none below 0 and not all 0, got {self.weights}"
            )

    def indices(self) -> tuple[tuple[int, ...], ...]:
        """For each dataset the samples of this stream's part."""
        return tuple(split_indices(dataset, self.part) for dataset in self.datasets)

    def item(self, number: int, indices: Sequence[Sequence[int]]) -> TrainingItem:
        """Item `number`; indices as indices() gave them, which is worth calling once."""
        rng = np.random.default_rng((self.seed, number))
        shares = np.array(self.weights) * np.array([len(chosen) > 0 for chosen in indices])
        if shares.sum() == 0:
            names = ", ".join(dataset.name for dataset in self.datasets)
            raise InputError(f"no sample of {names} is in the {self.part} part; give more images")
        for _ in range(_ATTEMPTS):
            which = int(rng.choice(len(self.datasets), p=shares / shares.sum()))
            index = indices[which][int(rng.integers(len(indices[which])))]
            item = self._prepare(self.datasets[which], index, rng)
            if item is not None:
                return item
        raise InputError(
            f"{_ATTEMPTS} images in a row had no usable mask; is the data in SA-1B layout?"
        )

    def _prepare(
        self, dataset: SampleSet, index: int, rng: np.random.Generator
    ) -> TrainingItem | None:
        sample = dataset.read(index)
        usable = [one for one in sample.annotations if not one.is_crowd and one.area > 0]
        if not usable:
            return None
        boxes = [one.bbox_xywh for one in usable]
        view = choose_view(boxes, sample.image.shape[:2], self.input_size, self.augmentation, rng)
        flips = rng.random() < self.augmentation.flip
        try:
            truths = self._truths(usable, view, flips, rng)
        except InputError as error:
            raise InputError(f"{dataset.name}/{sample.name}: {error}") from error
        if not truths:
            return None
        x0, y0, x1, y1 = view.window
        content = resize_image(sample.image[y0:y1, x0:x1], self._frame(view).content_hw)
        if flips:
            content = np.ascontiguousarray(content[:, ::-1])
        if rng.random() < self.augmentation.color:
            content = change_color(content, self.augmentation.strength, rng)
        image = normalize_and_pad(content, self.input_size)
        return TrainingItem(sample.name, image, np.stack(truths), int(rng.integers(2**31)))

    def _frame(self, view: View) -> Frame:
        """Where the window lies in the part of the input that it fills: a whole number of logit pixels."""
        x0, y0, x1, y1 = view.window
        side = max(1, round(self.logit_size * view.filled))
        return Frame((y1 - y0, x1 - x0), side * self.input_size // self.logit_size, side)

    def _truths(
        self, annotations: list[Annotation], view: View, flips: bool, rng: np.random.Generator
    ) -> list[BoolArray]:
        truths: list[BoolArray] = []
        for position in rng.permutation(len(annotations)):
            truth = self._truth(annotations[int(position)], view, flips)
            if truth is not None:
                truths.append(truth)
            if len(truths) == self.max_masks:
                break
        return (truths * self.repeats)[: self.max_masks]

    def _truth(self, annotation: Annotation, view: View, flips: bool) -> BoolArray | None:
        x0, y0, x1, y1 = view.window
        frame = self._frame(view)
        covered = shrink_mask(annotation.rle, view.window, frame, flips=flips)
        share = covered.sum() * cell_pixels(frame) / ((x1 - x0) * (y1 - y0))
        if share > 0.9:
            return None
        truth = np.zeros((self.logit_size, self.logit_size), dtype=np.bool_)
        truth[: frame.logit_size, : frame.logit_size] = covered >= 0.5
        return truth if truth.sum() >= self.min_pixels else None


def shrink_mask(rle: Rle, window: Window, frame: Frame, *, flips: bool = False) -> FloatArray:
    """How much of each logit pixel (L, L) a mask covers, 0 to 1, in a window that the frame places; flips: mirrored.

    Straight from the run lengths: a mask of three million pixels, decoded and scaled, would take a hundred times as long.
    """
    x0, y0, x1, y1 = window
    cells = np.arange(frame.logit_size + 1) * frame.input_size / frame.logit_size
    across, down = (cells / scale for scale in frame.scale_xy)
    columns, rows = np.minimum(across, x1 - x0), np.minimum(down, y1 - y0)
    columns = x1 - columns[::-1] if flips else x0 + columns
    area = cover_grid(rle, columns, y0 + rows) / np.float32(cell_pixels(frame))
    return area[:, ::-1] if flips else area


def cell_pixels(frame: Frame) -> float:
    """Pixels of the image to one of the logit frame."""
    side = frame.input_size / frame.logit_size
    return float(side**2 / np.prod(frame.scale_xy))


def split_indices(dataset: SampleSet, part: Part) -> tuple[int, ...]:
    """Samples of a part; one in 25 is for validation.

    The choice hangs on the sample's name after its first underscore, so an image that stands in two sets stays on one side.
    """
    if part == "all":
        return tuple(range(len(dataset)))
    held_out = [is_held_out(name) for name in dataset.sample_names]
    return tuple(index for index, held in enumerate(held_out) if held == (part == "validation"))


def is_held_out(sample_name: str) -> bool:
    """Whether a sample of this name is for validation, in every run that trains on anything."""
    stem = sample_name.partition("_")[2] or sample_name
    return zlib.crc32(stem.encode("utf-8", "surrogatepass")) % _VALIDATION_SHARE == 0
