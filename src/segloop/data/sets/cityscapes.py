"""Cityscapes, whose pictures of labels hold instances and what has none, as its panoptic task takes them."""

from __future__ import annotations

from pathlib import Path

from segloop.data.sets.label_maps import Label, LabelMaps
from segloop.data.sets.listed import Entry, ListedSet, find_below, list_set

_ENDING = "_gtFine_instanceIds.png"
_INSTANCES_FROM = 1000
_STUFF = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
}
_THINGS = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}


def open_cityscapes(folder: Path, *, name: str) -> ListedSet:
    """List the images of the validation split, leftImg8bit and gtFine side by side."""
    labels = find_below(folder, "gtFine/val")
    images = find_below(folder, "leftImg8bit/val")
    entries = []
    for path in sorted(labels.glob(f"*/*{_ENDING}")):
        inner = f"{path.parent.name}/{path.name.removesuffix(_ENDING)}"
        truth = LabelMaps((path,), panoptic_label)
        entries.append(Entry(inner, images / f"{inner}_leftImg8bit.png", truth))
    return list_set(name, folder, entries)


def panoptic_label(label: int) -> Label | None:
    """What a label of instanceIds.png is in the panoptic task.

    An instance has its class times 1000 and its number. A class alone is one region of stuff, or a crowd of things that
    could not be told apart; classes that are not evaluated are void.
    """
    if label >= _INSTANCES_FROM:
        category = _THINGS.get(label // _INSTANCES_FROM)
        return None if category is None else Label(category)
    if label in _STUFF:
        return Label(_STUFF[label])
    return Label(_THINGS[label], is_crowd=True) if label in _THINGS else None
