"""EPIC-KITCHENS VISOR: a JSON file for each video, polygons of hands and of what they use in sparse frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segloop.data.sets.listed import Entry, ListedSet, find_below, list_set
from segloop.data.sets.outlines import Outline, Outlines, read_json, read_polygon
from segloop.errors import InputError

_TOP = "GroundTruth-SparseAnnotations"


def open_visor(folder: Path, *, name: str) -> ListedSet:
    """List the frames of the validation split; the archives of frames, one for each video, must be unpacked."""
    annotations = find_below(folder, f"{_TOP}/annotations/val", "annotations/val")
    frames = find_below(folder, f"{_TOP}/rgb_frames/val", "rgb_frames/val")
    entries = (
        entry for path in sorted(annotations.glob("*.json")) for entry in _entries(path, frames)
    )
    return list_set(name, folder, entries)


def _entries(path: Path, frames: Path) -> Iterator[Entry]:
    content = read_json(path)
    try:
        for record in content["video_annotations"]:
            outlines = tuple(
                _outline(number, item)
                for number, item in enumerate(record["annotations"], start=1)
                if any(item["segments"])
            )
            if outlines:
                video, file_name = str(record["image"]["video"]), str(record["image"]["name"])
                inner = f"{video}/{Path(file_name).stem}"
                yield Entry(inner, _find_frame(frames, video, file_name), Outlines(outlines))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not in VISOR's layout ({error})") from error


def _outline(number: int, item: dict[str, Any]) -> Outline:
    polygons = tuple(map(read_polygon, item["segments"]))
    return Outline(number, str(item["name"]), polygons, has_holes=True)


def _find_frame(frames: Path, video: str, file_name: str) -> Path:
    """Archives hold no folder, so frames lie in one of the video's name, or loose beside the archives."""
    person = video.partition("_")[0]
    places = (frames / person / video, frames / video, frames / person)
    found = [place / file_name for place in places if (place / file_name).is_file()]
    return found[0] if found else places[0] / file_name
