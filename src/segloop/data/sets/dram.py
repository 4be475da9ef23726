"""DRAM, paintings with one label for each class of things, by the numbers of Pascal VOC."""

from __future__ import annotations

from pathlib import Path

from segloop.data.sets.label_maps import Label, open_label_maps
from segloop.data.sets.listed import ListedSet

_CLASSES = {
    3: "bird",
    4: "boat",
    5: "bottle",
    8: "cat",
    9: "chair",
    10: "cow",
    12: "dog",
    13: "horse",
    15: "person",
    16: "potted plant",
    17: "sheep",
}


def open_dram(folder: Path, *, name: str) -> ListedSet:
    """List the test images; each class in an image is one mask."""
    return open_label_maps(
        folder, name=name, folders=(("test", "labels"),), describe=class_of_things
    )


def class_of_things(label: int) -> Label | None:
    """The set's own classes; all else is background, and 255 is not to be judged."""
    return Label(_CLASSES[label]) if label in _CLASSES else None
