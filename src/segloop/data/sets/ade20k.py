"""ADE20K, whose pictures of labels hold objects, their parts, and parts of parts, each level in a picture of its own."""

from __future__ import annotations

from pathlib import Path

from segloop.data.sets.label_maps import Label, LabelMaps
from segloop.data.sets.listed import Entry, ListedSet, find_below, list_set

_BLUE = 65536


def open_ade20k(folder: Path, *, name: str) -> ListedSet:
    """List the validation images of the full set (not of the scene parsing benchmark), with objects and parts."""
    place = find_below(folder, "images/ADE/validation", "images/validation")
    entries = []
    for objects in sorted(place.rglob("*_seg.png")):
        stem = objects.name.removesuffix("_seg.png")
        parts = sorted(objects.parent.glob(f"{stem}_parts_*.png"))
        inner = (objects.parent / stem).relative_to(place).as_posix()
        truth = LabelMaps((objects, *parts), object_label)
        entries.append(Entry(inner, objects.parent / f"{stem}.jpg", truth))
    return list_set(name, folder, entries)


def object_label(label: int) -> Label | None:
    """Red and green say the class, blue which object it is; 0 in blue is none."""
    number = label // _BLUE
    # The class's number: the tens of red count 256, green is the rest.
    category = label % 256 // 10 * 256 + label // 256 % 256
    return Label(str(category)) if number else None
