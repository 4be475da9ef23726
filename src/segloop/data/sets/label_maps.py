"""Sets whose truth is a picture of labels: every pixel says which object it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from segloop.data.sample import Annotation
from segloop.data.sets.listed import Entry, ListedSet, annotate, find_below, list_set
from segloop.errors import InputError
from segloop.geometry.rle import encode_rle

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Label:
    """What the pixels of one label are."""

    category: str | None = None
    is_crowd: bool = False


Describe = Callable[[int], Label | None]


def all_but_zero(label: int) -> Label | None:
    """Every label is an object of its own; 0 is none."""
    return Label() if label else None


@dataclass(frozen=True)
class LabelMaps:
    """The truth of one image, in one picture or several. describe: what a label stands for, None where for no object."""

    paths: tuple[Path, ...]
    describe: Describe = all_but_zero

    def count(self) -> int:
        """How many objects there are, crowds left out."""
        found = (label for path in self.paths for label in np.unique(read_labels(path)).tolist())
        kinds = map(self.describe, found)
        return sum(kind is not None and not kind.is_crowd for kind in kinds)

    def annotations(self, image_hw: tuple[int, int]) -> tuple[Annotation, ...]:
        """The objects, numbered from 1; InputError where a picture of labels has another size than the image."""
        found: list[Annotation] = []
        for path in self.paths:
            labels = read_labels(path)
            if labels.shape != image_hw:
                raise InputError(
                    f"{path.name} is {labels.shape} (height, width), the image is {image_hw}"
                )
            for label in np.unique(labels).tolist():
                kind = self.describe(label)
                if kind is not None:
                    rle = encode_rle(labels == label)
                    number = len(found) + 1
                    found.append(annotate(rle, number, kind.category, is_crowd=kind.is_crowd))
        return tuple(found)


def open_label_maps(
    folder: Path,
    *,
    name: str,
    folders: tuple[tuple[str, str], ...],
    image_suffixes: tuple[str, ...] = (".jpg",),
    label_suffix: str = ".png",
    describe: Describe = all_but_zero,
    takes: Callable[[str], bool] = bool,
) -> ListedSet:
    """List the pictures of labels below folders, and the images of the same paths.

    folders: pairs of a folder of images and one of labels. image_suffixes: endings of an image's name where the picture of
    labels has label_suffix; the first that is there counts. takes: whether a name belongs to the subset. InputError where
    something is missing.
    """
    entries: list[Entry] = []
    for images, labels in folders:
        place, label_place = find_below(folder, images), find_below(folder, labels)
        for path in sorted(label_place.rglob(f"*{label_suffix}")):
            inner = path.relative_to(label_place).as_posix().removesuffix(label_suffix)
            if takes(inner):
                candidates = [place / f"{inner}{suffix}" for suffix in image_suffixes]
                image = next((one for one in candidates if one.is_file()), candidates[0])
                entries.append(Entry(f"{images}/{inner}", image, LabelMaps((path,), describe)))
    return list_set(name, folder, entries)


def read_labels(path: Path) -> Labels:
    """Labels (H, W): indices of a palette, grey values of any depth, or red + 256 green + 65536 blue; also HDF5.

    HDF5 has them in 'dataset' and takes the package h5py. InputError where the file cannot be read.
    """
    try:
        if path.suffix == ".hdf5":
            return _read_hdf5(path)
        with Image.open(path) as image:
            pixels = np.asarray(image).astype(np.int64)
    except (OSError, ValueError, KeyError, SyntaxError) as error:
        raise InputError(f"cannot read the labels {path}: {error}") from error
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 2:  # grey values and transparency
        return np.ascontiguousarray(pixels[..., 0])
    return pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]


def _read_hdf5(path: Path) -> Labels:
    try:
        import h5py  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise InputError("reading HDF5 takes one more package: pip install h5py") from error
    with h5py.File(path, "r") as content:
        return np.asarray(content["dataset"]).astype(np.int64)
