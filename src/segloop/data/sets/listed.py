"""A data set as a list: where each image lies, and where its truth does; nothing is decoded before it is asked for.

Adapters make such lists from a set's own layout. What is common to all stands here: the check that the images are
there, that masks fit them, and the rule by which the paper takes a part of a large set (appendix D.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pycocotools import mask as coco_mask

from segloop.data.image import load_image
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.geometry.rle import Rle

MANY_MASKS = 15_000
ENOUGH_MASKS = 10_000


class Truth(Protocol):
    """The true masks of one image, in whatever form the set keeps them."""

    def count(self) -> int:
        """How many there are, crowds left out."""
        ...

    def annotations(self, image_hw: tuple[int, int]) -> tuple[Annotation, ...]:
        """The masks of an image of this size; InputError where they are not of that size or cannot be read."""
        ...


@dataclass(frozen=True)
class Entry:
    """One image of a set. name: its path in the set, without suffix."""

    name: str
    image: Path
    truth: Truth


@dataclass(frozen=True)
class ListedSet:
    """The samples of a set, in the order of the list."""

    name: str
    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Name of each image: its path in the set, without suffix."""
        return tuple(entry.name for entry in self.entries)

    def read(self, index: int) -> Sample:
        """Decode sample `index`; InputError names the sample whose image or masks cannot be used."""
        entry = self.entries[index]
        try:
            image = load_image(entry.image)
            annotations = entry.truth.annotations(image.shape[:2])
        except InputError as error:
            raise InputError(f"{self.name}/{entry.name}: {error}") from error
        return Sample(entry.name, image, annotations)

    def chosen(self, seed: int) -> ListedSet:
        """The images that are evaluated, by choose_until."""
        indices = choose_until(self._count, len(self), seed)
        return replace(self, entries=tuple(self.entries[index] for index in indices))

    def _count(self, index: int) -> int:
        entry = self.entries[index]
        try:
            return entry.truth.count()
        except InputError as error:
            raise InputError(f"{self.name}/{entry.name}: {error}") from error


def list_set(name: str, folder: Path, entries: Iterable[Entry]) -> ListedSet:
    """Put a list together; InputError where it is empty, or where an annotated image is missing."""
    listed = tuple(entries)
    if not listed:
        raise InputError(
            f"{folder} holds no annotated image of {name}: see its layout in the guide"
        )
    for entry in listed:
        if not entry.image.is_file():
            raise InputError(f"{name}/{entry.name}: annotated, but there is no image {entry.image}")
    return ListedSet(name, listed)


def choose_until(
    count: Callable[[int], int],
    num_images: int,
    seed: int,
    *,
    enough: int = ENOUGH_MASKS,
    many: int = MANY_MASKS,
) -> tuple[int, ...]:
    """Which images of a set are evaluated, in rising order (paper appendix D.1).

    All that have a mask, where the set has at most `many` masks; else images drawn at random until there are `enough`.
    The paper says "about 10k" only: the image that completes the number is the last one taken here. count gives the
    masks of an image and is asked for no more images than it takes to tell.
    """
    assert enough <= many
    drawn: list[int] = []
    total = num_enough = 0
    for index in np.random.default_rng(seed).permutation(num_images).tolist():
        num_masks = count(index)
        if not num_masks:
            continue
        drawn.append(index)
        if total < enough:
            num_enough = len(drawn)
        total += num_masks
        if total > many:
            return tuple(sorted(drawn[:num_enough]))
    return tuple(sorted(drawn))


def find_below(folder: Path, *inner: str) -> Path:
    """The file or folder at one of these paths in a set's folder, or in the one folder that an archive made there.

    InputError names the first of them where there is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    for path in inner:
        found = [folder / path] if (folder / path).exists() else sorted(folder.glob(f"*/{path}"))
        if len(found) == 1:
            return found[0]
    raise InputError(f"{folder} has no {inner[0]}: see the layout of the set in the guide")


def annotate(
    rle: Rle, number: int, category: str | None = None, *, is_crowd: bool = False
) -> Annotation:
    """An annotation of a mask, with the area and box of its pixels."""
    # The stubs have no name for what the library takes.
    packed: Any = {"size": list(rle.size_hw), "counts": rle.counts.encode("ascii")}
    x, y, width, height = (float(side) for side in coco_mask.toBbox(packed))
    return Annotation(
        rle, float(coco_mask.area(packed)), (x, y, width, height), number, category, is_crowd
    )
