"""Sets annotated with the VGG Image Annotator: one JSON file, an entry for each image, polygons in its regions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segloop.data.sets.listed import Entry, ListedSet, find_below, list_set
from segloop.data.sets.outlines import Outline, Outlines, Polygon, read_json, read_polygon
from segloop.errors import InputError

_SHAPES = ("polygon", "polyline")


def open_via(folder: Path, *, name: str, files: tuple[tuple[str, str], ...]) -> ListedSet:
    """List the images of annotation files. files: pairs of a JSON file and a folder of images.

    InputError where something is missing, or a region is neither polygon nor polyline.
    """
    entries: list[Entry] = []
    for project, images in files:
        entries += _entries(find_below(folder, project), find_below(folder, images), images)
    return list_set(name, folder, entries)


def _entries(path: Path, images: Path, prefix: str) -> Iterator[Entry]:
    content = read_json(path)
    try:
        for record in content.values():
            regions = record["regions"]
            # Version 1 of the annotator numbers the regions, version 2 lists them.
            listed = list(regions.values()) if isinstance(regions, dict) else regions
            outlines = tuple(
                Outline(number, None, (_polygon(region["shape_attributes"]),))
                for number, region in enumerate(listed, start=1)
            )
            if outlines:
                file_name = str(record["filename"])
                inner = f"{prefix}/{Path(file_name).stem}"
                yield Entry(inner, images / file_name, Outlines(outlines))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a project of the VGG Image Annotator ({error})") from error


def _polygon(shape: dict[str, Any]) -> Polygon:
    if shape["name"] not in _SHAPES:
        raise ValueError(f"a region is a {shape['name']}, not a polygon")
    return read_polygon(
        [list(xy) for xy in zip(shape["all_points_x"], shape["all_points_y"], strict=True)]
    )
