"""Hypersim, whose pictures of labels are HDF5 files beside the previews of rendered images."""

from __future__ import annotations

import re
from pathlib import Path

from segloop.data.sets.label_maps import Label, LabelMaps
from segloop.data.sets.listed import Entry, ListedSet, list_set
from segloop.errors import InputError

LAST_VOLUME = 55
_LEFT_OUT = frozenset({20, 25, 40, 49})
_SCENE = re.compile(r"ai_(\d{3})_\d{3}")


def open_hypersim(folder: Path, *, name: str) -> ListedSet:
    """List the frames of Evermotion's volumes 1 to 55, less those that the paper leaves out.

    The scenes lie in the folder or in one below it. Images are the tone-mapped previews.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    scenes = [path for path in (*folder.glob("ai_*"), *folder.glob("*/ai_*")) if in_subset(path)]
    entries = []
    for scene in sorted(scenes):
        for labels in sorted(scene.glob("images/*_geometry_hdf5/*.semantic_instance.hdf5")):
            frame = labels.name.removesuffix(".semantic_instance.hdf5")
            camera = labels.parent.name.removesuffix("_geometry_hdf5")
            image = scene / "images" / f"{camera}_final_preview" / f"{frame}.tonemap.jpg"
            inner = f"{scene.name}/{camera}/{frame}"
            entries.append(Entry(inner, image, LabelMaps((labels,), instance_label)))
    return list_set(name, folder, entries)


def in_subset(scene: Path) -> bool:
    """Whether the paper takes this scene."""
    match = _SCENE.fullmatch(scene.name)
    volume = int(match[1]) if match else 0
    return 1 <= volume <= LAST_VOLUME and volume not in _LEFT_OUT


def instance_label(label: int) -> Label | None:
    """Instances are numbered from 1; pixels of none have -1."""
    return Label() if label > 0 else None
