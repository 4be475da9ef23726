"""COCO's layout of instances, read: one JSON file beside a folder of images; LVIS's layout is its variant.

Masks are polygons or run lengths, made one form by pycocotools when an image is read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from segloop.data.image import load_image
from segloop.data.records import Record, check_extent, index_by_id
from segloop.data.sample import Annotation, Frequency, Labelling, Sample
from segloop.data.sets.outlines import check_within, read_json, rle_of_polygons
from segloop.errors import InputError
from segloop.geometry.rle import Rle


@dataclass(frozen=True)
class Category:
    """A class of objects. name: its own, with its number where another class has the same."""

    id: int
    name: str
    frequency: Frequency | None


@dataclass(frozen=True)
class Layout:
    """What a variant of the layout says otherwise; each function is given a record of the file.

    file_names: where an image may lie below the folder. frequency: of a category. labelling: of an image, with the names of
    the categories by number.
    """

    file_names: Callable[[Record], tuple[str, ...]]
    frequency: Callable[[Record], Frequency | None]
    labelling: Callable[[Record, Mapping[int, str]], Labelling | None]


@dataclass(frozen=True, eq=False)
class _Image:
    id: int
    file_names: tuple[str, ...]
    size_hw: tuple[int, int]
    labelling: Labelling | None
    items: list[Record]

    @property
    def name(self) -> str:
        return str(Path(self.file_names[0]).with_suffix(""))


class CocoInstances:
    """The images of one annotation file with their instances, in the order of their numbers.

    Another process is sent the paths alone, and reads the file anew.
    """

    def __init__(self, annotations: Path, images: Path, name: str, layout: Layout) -> None:
        """Index the file; open_coco and open_lvis know the layouts."""
        self.name = name
        self._annotations, self._images, self._layout = annotations, images, layout
        if not images.is_dir():
            raise InputError(f"{images}: no such folder of images")
        content = read_json(annotations)
        try:
            self.categories = _categories(annotations, content["categories"], layout)
            self._by_id = {category.id: category for category in self.categories}
            records = _index(annotations, content["images"], "image")
            items = _index(annotations, content["annotations"], "annotation")
            self._entries = self._pair(records, items)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{annotations} is not in COCO's layout of instances ({_reason(error)})"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return CocoInstances, (self._annotations, self._images, self.name, self._layout)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def image_ids(self) -> tuple[int, ...]:
        """The number of each image."""
        return tuple(entry.id for entry in self._entries)

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Name of each image: its path in the folder, without suffix."""
        return tuple(entry.name for entry in self._entries)

    @property
    def sizes_hw(self) -> dict[int, tuple[int, int]]:
        """Size of each image in pixels, by its number."""
        return {entry.id: entry.size_hw for entry in self._entries}

    def read(self, index: int) -> Sample:
        """Decode sample `index`; InputError names the image that is missing, of another size, or badly annotated."""
        entry = self._entries[index]
        path = self._find(entry)
        annotations = self.read_annotations(index)
        image = load_image(path)
        if image.shape[:2] != entry.size_hw:
            raise InputError(
                f"{path} is {image.shape[:2]} (height, width), its annotation says {entry.size_hw}"
            )
        return Sample(entry.name, image, annotations, entry.id, entry.labelling)

    def read_annotations(self, index: int) -> tuple[Annotation, ...]:
        """The annotations of sample `index`, without its image."""
        entry = self._entries[index]
        return tuple(self._annotation(item, entry.size_hw) for item in entry.items)

    def _pair(self, records: dict[int, Record], items: dict[int, Record]) -> list[_Image]:
        names = {category.id: category.name for category in self.categories}
        images = {
            number: _Image(
                number,
                self._layout.file_names(record),
                (int(record["height"]), int(record["width"])),
                self._layout.labelling(record, names),
                [],
            )
            for number, record in sorted(records.items())
        }
        for number, item in items.items():
            image, category = int(item["image_id"]), int(item["category_id"])
            for kind, one, known in (("image", image, images), ("category", category, names)):
                if one not in known:
                    raise InputError(
                        f"{self._annotations}: annotation {number} is of {kind} {one}, which the file lacks"
                    )
            images[image].items.append(item)
        return list(images.values())

    def _find(self, entry: _Image) -> Path:
        paths = [self._images / name for name in entry.file_names]
        found = next((path for path in paths if path.is_file()), None)
        if found is None:
            raise InputError(f"{self.name}: image {entry.id} is missing: no {paths[0]}")
        return found

    def _annotation(self, item: Record, size_hw: tuple[int, int]) -> Annotation:
        try:
            rle = read_segmentation(item["segmentation"], size_hw)
            # The stubs know compressed runs as text only where the library wants bytes.
            record: Any = {"size": list(size_hw), "counts": rle.counts.encode()}
            x, y, width, height = map(float, item.get("bbox") or coco_mask.toBbox(record))
            area = float(item.get("area", coco_mask.area(record)))
            check_extent((x, y, width, height), area)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self._annotations}: annotation {item['id']}: {_reason(error)}"
            ) from error
        category = self._by_id[int(item["category_id"])]
        return Annotation(
            rle=rle,
            area=area,
            bbox_xywh=(x, y, width, height),
            id=int(item["id"]),
            category=category.name,
            is_crowd=bool(item.get("iscrowd", 0)),
            frequency=category.frequency,
        )


def open_coco(
    annotations: str | Path, images: str | Path, name: str | None = None
) -> CocoInstances:
    """Open instances_val2017.json and its like with the folder of the images it names.

    name: of the set, by default the file's. Raises InputError for a file that cannot be read, is not in that layout, or
    has an annotation of an image or a category that it lacks.
    """
    path = Path(annotations)
    return CocoInstances(path, Path(images), name or path.stem, COCO_LAYOUT)


def read_segmentation(segmentation: Any, size_hw: tuple[int, int]) -> Rle:
    """A mask of an image of this size from polygons or run lengths; no polygon at all is a mask without a pixel.

    Raises InputError for a mask of another size, for a polygon that is not pairs of three or more finite numbers, and for
    one that reaches beyond the image by more than rounding does.
    """
    if isinstance(segmentation, dict):
        rle = Rle.from_json(segmentation)
        if rle.size_hw != size_hw:
            raise InputError(f"its mask is {rle.size_hw} (height, width), its image {size_hw}")
        return rle
    if not isinstance(segmentation, list) or not all(map(_is_polygon, segmentation)):
        raise InputError("a polygon is x, y, x, y, ... of three or more points, all finite")
    try:
        for polygon in segmentation:
            check_within(polygon, size_hw)
    except InputError as error:
        height, width = size_hw
        raise InputError(
            f"{error}; corners are pixels, x from 0 to {width} and y from 0 to {height}"
        ) from error
    # What hangs over is cut off where COCO's own tools do, and not moved to the border.
    return rle_of_polygons(map(tuple, segmentation), size_hw)


def _is_polygon(numbers: Any) -> bool:
    return (
        isinstance(numbers, list)
        and len(numbers) >= 6
        and len(numbers) % 2 == 0
        and all(isinstance(one, int | float) and math.isfinite(one) for one in numbers)
    )


def _categories(path: Path, items: Sequence[Record], layout: Layout) -> tuple[Category, ...]:
    records = _index(path, items, "category")
    shared = Counter(str(item["name"]) for item in records.values())
    return tuple(
        Category(
            number,
            str(item["name"]) if shared[str(item["name"])] == 1 else f"{item['name']} {number}",
            layout.frequency(item),
        )
        for number, item in sorted(records.items())
    )


def _index(path: Path, items: Sequence[Record], kind: str) -> dict[int, Record]:
    try:
        return index_by_id(items, kind)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _reason(error: Exception) -> str:
    return f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)


def _own_name(record: Record) -> tuple[str, ...]:
    return (str(record["file_name"]),)


def _no_frequency(_: Record) -> None:
    return None


def _no_labelling(_: Record, __: Mapping[int, str]) -> None:
    return None


COCO_LAYOUT = Layout(_own_name, _no_frequency, _no_labelling)
