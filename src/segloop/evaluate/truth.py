"""Which images and which masks of a dataset an evaluation takes: the same for a model and for its baselines."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.geometry.frames import BoolArray

Progress = Callable[[int, int], None]


class SampleSource(Protocol):
    """A dataset that can be read by index."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def read(self, index: int) -> Sample:
        """Image and annotations of one sample."""
        ...


@dataclass(frozen=True)
class Counts:
    """What was scored and what was passed over: annotations of crowds, and masks without a pixel."""

    num_images: int = 0
    num_masks: int = 0
    num_crowds: int = 0
    num_empty: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.num_images + other.num_images,
            self.num_masks + other.num_masks,
            self.num_crowds + other.num_crowds,
            self.num_empty + other.num_empty,
        )


def choose_images(num_images: int, limit: int | None, seed: int) -> tuple[int, ...]:
    """Indices of the images to score: all, or `limit` drawn without replacement, in rising order."""
    if limit is not None and limit < 1:
        raise InputError(
            f"limit is the number of images to score and must be at least 1, got {limit}"
        )
    if limit is None or limit >= num_images:
        return tuple(range(num_images))
    chosen = np.random.default_rng(seed).choice(num_images, size=limit, replace=False)
    return tuple(sorted(int(index) for index in chosen))


def draw_for(image: str, seed: int) -> np.random.Generator:
    """Random numbers for an image of this name, the same whichever others are scored."""
    return np.random.default_rng([seed, zlib.crc32(image.encode("utf-8", "surrogatepass"))])


def usable_annotations(sample: Sample) -> tuple[tuple[Annotation, ...], Counts]:
    """The annotations that have a truth to be compared with, and the count of the others."""
    single = [annotation for annotation in sample.annotations if not annotation.is_crowd]
    kept = tuple(annotation for annotation in single if annotation.mask().any())
    num_crowds = len(sample.annotations) - len(single)
    return kept, Counts(1, len(kept), num_crowds, len(single) - len(kept))


def in_groups(
    annotations: tuple[Annotation, ...], image_hw: tuple[int, int], pixel_budget: int
) -> Iterator[tuple[tuple[Annotation, ...], BoolArray]]:
    """Annotations with their truths (N, H, W), as many at a time as the budget of pixels holds, at least one."""
    size = max(1, pixel_budget // (image_hw[0] * image_hw[1]))
    for start in range(0, len(annotations), size):
        group = annotations[start : start + size]
        yield group, np.stack([annotation.mask() for annotation in group])


def relative_size(truth: BoolArray) -> float:
    """Square root of the share of the image that a mask covers."""
    return float(np.sqrt(truth.sum() / truth.size))
