"""WoodScape, fisheye images of a car's surroundings with a JSON file of polygons for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segloop.data.sample import Annotation
from segloop.data.sets.listed import Entry, ListedSet, find_below, list_set
from segloop.data.sets.outlines import Outline, Outlines, read_json, read_polygon
from segloop.errors import InputError

_VOID = "void"


@dataclass(frozen=True)
class AnnotationFile:
    """The truth of one image, read anew each time: all polygons of the set would not fit in memory."""

    path: Path

    def count(self) -> int:
        """How many objects there are."""
        return self._read().count()

    def annotations(self, image_hw: tuple[int, int]) -> tuple[Annotation, ...]:
        """The objects; InputError where the file is not in this layout, or for an image of another size."""
        return self._read().annotations(image_hw)

    def _read(self) -> Outlines:
        content = read_json(self.path)
        try:
            (record,) = content.values()
            outlines = [
                Outline(number, str(item["tags"][0]), (read_polygon(item["segmentation"]),))
                for number, item in enumerate(record["annotation"], start=1)
            ]
            size_hw = (int(record["image_height"]), int(record["image_width"]))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.path} is not in WoodScape's layout ({error})") from error
        return Outlines(tuple(one for one in outlines if one.category != _VOID), size_hw)


def open_woodscape(folder: Path, *, name: str) -> ListedSet:
    """List the images of the first set that was released."""
    annotations = find_below(folder, "instance_annotations")
    images = find_below(folder, "rgb_images")
    entries = (
        Entry(path.stem, images / f"{path.stem}.png", AnnotationFile(path))
        for path in sorted(annotations.rglob("*.json"))
    )
    return list_set(name, folder, entries)
