"""Sets whose truth is a black and white picture for each object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segloop.data.mask import load_mask
from segloop.data.sample import Annotation
from segloop.data.sets.listed import Entry, ListedSet, annotate, find_below, list_set
from segloop.errors import InputError
from segloop.geometry.rle import encode_rle


@dataclass(frozen=True)
class MaskFiles:
    """The truth of one image: one file for each object."""

    paths: tuple[Path, ...]

    def count(self) -> int:
        """How many objects there are."""
        return len(self.paths)

    def annotations(self, image_hw: tuple[int, int]) -> tuple[Annotation, ...]:
        """The objects, numbered from 1; InputError where a mask has another size than the image."""
        found = []
        for number, path in enumerate(self.paths, start=1):
            mask = load_mask(path)
            if mask.shape != image_hw:
                raise InputError(
                    f"{path.name} is {mask.shape} (height, width), the image is {image_hw}"
                )
            found.append(annotate(encode_rle(mask), number))
        return tuple(found)


def open_bbbc038(folder: Path, *, name: str) -> ListedSet:
    """List the first stage's training images: a folder for each, with one image and a mask for each nucleus."""
    return list_set(name, folder, _nuclei(find_below(folder, "stage1_train")))


def open_doors(folder: Path, *, name: str) -> ListedSet:
    """List the first data set for segmentation: images and masks of the same names, one boulder in each."""
    place = find_below(folder, "Segmentation/DS1/DS", "DS1/DS")
    masks = sorted((place / "mask").glob("*.png"))
    entries = (Entry(mask.stem, place / "img" / mask.name, MaskFiles((mask,))) for mask in masks)
    return list_set(name, folder, entries)


def _nuclei(train: Path) -> Iterator[Entry]:
    for masks in sorted(train.glob("*/masks")):
        number = masks.parent.name
        truth = MaskFiles(tuple(sorted(masks.glob("*.png"))))
        yield Entry(number, masks.parent / "images" / f"{number}.png", truth)
