"""A folder of images with a picture of labels each: images/NAME.jpg and masks/NAME.png, or NAME.jpg beside NAME.png.

A picture of labels says for every pixel which object it belongs to, 0 for none; or it is black and white, and every
connected white part is an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from segloop.data.folder import IMAGE_SUFFIXES
from segloop.data.mask import load_mask
from segloop.data.sample import Annotation
from segloop.data.sets.label_maps import Labels, read_labels
from segloop.data.sets.listed import Entry, ListedSet, list_set
from segloop.errors import InputError, list_problems
from segloop.geometry.rle import encode_rle_window

Reading = Literal["auto", "ids", "binary"]

_IMAGE_FOLDERS = ("images", "imgs", "image")
_LABEL_FOLDERS = ("masks", "labels", "mask", "label", "annotations", "instances")
# Without loss, or labels would not survive.
_LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
_LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")
_TAGS = ("_masks", "_mask", "_labels", "_label")
_MOSTLY = 0.8
# What a picture in colour makes of one step of grey: as much red as green and blue.
_GREY = 1 + 256 + 65536


class NoLabelsError(InputError):
    """A folder without a picture of labels that belongs to an image."""


@dataclass(frozen=True)
class LabelPicture:
    """The truth of one image. is_binary: connected parts of what is bright are the objects, not equal labels."""

    path: Path
    is_binary: bool

    def count(self) -> int:
        """How many objects there are."""
        return len(np.unique(self._labels())) - 1

    def annotations(self, image_hw: tuple[int, int]) -> tuple[Annotation, ...]:
        """The objects, numbered from 1; InputError where the picture has another size than the image."""
        labels = self._labels()
        if labels.shape != image_hw:
            raise InputError(
                f"{self.path.name} is {labels.shape} (height, width), the image is {image_hw}"
            )
        return objects_of(labels)

    def _labels(self) -> Labels:
        if not self.is_binary:
            return _read(self.path)
        _, labels = cv2.connectedComponents(load_mask(self.path).astype(np.uint8), connectivity=8)
        return labels.astype(np.int64)


def objects_of(labels: Labels) -> tuple[Annotation, ...]:
    """The objects of a map of labels (H, W), 0 for none, numbered from 1 in the order of the labels."""
    height, width = labels.shape
    values, inverse = np.unique(labels, return_inverse=True)
    # All pixels sorted by label: an object is a run of them, and one pass finds every box.
    order = np.argsort(inverse.reshape(-1), kind="stable")
    areas = np.bincount(inverse.reshape(-1))
    starts = np.cumsum(areas) - areas
    rows, columns = np.divmod(order, width)
    tops, lefts = np.minimum.reduceat(rows, starts), np.minimum.reduceat(columns, starts)
    bottoms, rights = np.maximum.reduceat(rows, starts), np.maximum.reduceat(columns, starts)
    found: list[Annotation] = []
    for at in np.flatnonzero(values != 0).tolist():
        x0, y0, x1, y1 = (int(side[at]) for side in (lefts, tops, rights, bottoms))
        pixels = np.ascontiguousarray(labels[y0 : y1 + 1, x0 : x1 + 1] == values[at])
        rle = encode_rle_window(pixels, (x0, y0), (height, width))
        box = (float(x0), float(y0), float(x1 - x0 + 1), float(y1 - y0 + 1))
        found.append(Annotation(rle, float(areas[at]), box, len(found) + 1))
    return tuple(found)


def open_label_folder(
    folder: str | Path, *, reading: Reading = "auto", name: str | None = None
) -> ListedSet:
    """Open a folder; images that have no picture of labels are left out.

    reading: "ids", every label is an object; "binary", every connected bright part is; "auto", ids unless all pictures are
    black and white. name: of the set, by default the folder's. Labels may end in _mask, _masks, _label or _labels. Raises
    InputError for labels without an image and for labels as JPEG, naming up to ten; NoLabelsError where there are none.
    """
    place = Path(folder)
    if reading not in get_args(Reading):
        raise InputError(f"labels are read as auto, ids or binary, got {reading!r}")
    problems: list[str] = []
    pairs = dict(_pairs(place, problems))
    if problems:
        raise InputError(list_problems(problems))
    if not pairs:
        raise NoLabelsError(
            f"{place} holds no image with labels: NAME.jpg beside NAME.png, or images/ beside masks/"
        )
    is_binary = reading == "binary" or (
        reading == "auto" and all(map(_may_be_black_and_white, pairs.values()))
    )
    entries = (
        Entry(
            image.relative_to(place).with_suffix("").as_posix(),
            image,
            LabelPicture(labels, is_binary),
        )
        for image, labels in pairs.items()
    )
    return list_set(name or place.resolve().name, place, entries)


def is_black_and_white(labels: Labels) -> bool:
    """Whether a picture has one label beside 0, or is nearly white where it is not black, as with smoothed edges."""
    labelled = labels[labels != 0]
    if not len(labelled) or labelled.min() == labelled.max():
        return True
    return bool(labelled.max() == 255 and np.mean(labelled == 255) >= _MOSTLY)


def _read(path: Path) -> Labels:
    """Labels (H, W); grey values where a picture in colour is grey all over, as many programs save black and white."""
    labels = read_labels(path)
    return labels if (labels % _GREY).any() else labels // _GREY


def _may_be_black_and_white(path: Path) -> bool:
    """Also where it cannot be read, which reading the sample says; the other pictures decide."""
    try:
        return is_black_and_white(_read(path))
    except InputError:
        return True


def _pairs(folder: Path, problems: list[str]) -> Iterator[tuple[Path, Path]]:
    """Images with their labels, by name; a line is added to problems for labels that cannot be used."""
    bases = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    beside = [pair for base in bases for pair in _folders_of(base)]
    for images, labels in beside:
        found = _files(images, IMAGE_SUFFIXES)
        for inner, path in _files(labels, (*_LABEL_SUFFIXES, *_LOSSY_SUFFIXES)).items():
            if path.suffix.lower() in _LOSSY_SUFFIXES:
                problems.append(f"{path}: labels do not survive as {path.suffix}; save them as PNG")
            elif image := found.get(inner) or found.get(_untagged(inner)):
                yield image, path
            else:
                problems.append(_without_image(path, images / inner))
    if not beside:
        yield from _pairs_in_one_folder(folder, problems)


def _without_image(labels: Path, image: Path) -> str:
    return f"{labels}: labels without an image: there is no {image}.jpg"


def _folders_of(base: Path) -> list[tuple[Path, Path]]:
    images = [base / name for name in _IMAGE_FOLDERS if (base / name).is_dir()]
    labels = [base / name for name in _LABEL_FOLDERS if (base / name).is_dir()]
    return [(images[0], labels[0])] if images and labels else []


def _pairs_in_one_folder(folder: Path, problems: list[str]) -> Iterator[tuple[Path, Path]]:
    images = _files(folder, tuple(set(IMAGE_SUFFIXES) - set(_LABEL_SUFFIXES)))
    labels = _files(folder, _LABEL_SUFFIXES)
    for inner, path in labels.items():
        whole = _untagged(inner)
        image = images.get(whole) or (labels.get(whole) if whole != inner else None)
        if image is not None:
            yield image, path
        elif whole != inner:
            problems.append(_without_image(path, folder / whole))


def _files(folder: Path, suffixes: tuple[str, ...]) -> Mapping[Path, Path]:
    """The files below a folder with these suffixes, by their paths in it without suffix."""
    return {
        path.relative_to(folder).with_suffix(""): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    }


def _untagged(inner: Path) -> Path:
    for tag in _TAGS:
        if inner.name.endswith(tag):
            return inner.with_name(inner.name.removesuffix(tag))
    return inner
