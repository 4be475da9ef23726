"""EgoHOS, hands and what they hold in frames of several egocentric data sets."""

from __future__ import annotations

from pathlib import Path

from segloop.data.sets.label_maps import Label, open_label_maps
from segloop.data.sets.listed import ListedSet

_CATEGORIES = (
    "left hand",
    "right hand",
    "object of the left hand",
    "object of the right hand",
    "object of both hands",
    "second object of the left hand",
    "second object of the right hand",
    "second object of both hands",
)


def open_egohos(folder: Path, *, name: str) -> ListedSet:
    """List the training images that come from Ego4D and THU-READ, told by their names."""
    return open_label_maps(
        folder,
        name=name,
        folders=(("train/image", "train/label"),),
        image_suffixes=(".jpg", ".png"),
        describe=hand_or_object,
        takes=is_of_ego4d_or_thu_read,
    )


def hand_or_object(label: int) -> Label | None:
    """Labels 1 to 8; 0 is background."""
    return Label(_CATEGORIES[label - 1]) if 1 <= label <= len(_CATEGORIES) else None


def is_of_ego4d_or_thu_read(file_name: str) -> bool:
    """Whether a frame is of one of the sets that the paper takes."""
    return "ego4d" in file_name.lower() or "thu" in file_name.lower()
