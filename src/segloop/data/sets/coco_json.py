"""Sets whose truth is a JSON file in COCO's layout of instances, beside a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from segloop.data.sets.listed import Entry, ListedSet, find_below, list_set
from segloop.data.sets.outlines import Outline, Outlines, read_json, read_outline
from segloop.errors import InputError


def open_coco(
    folder: Path,
    *,
    name: str,
    annotations: tuple[str, ...],
    images: str,
    image_name: Callable[[str], str] = str,
) -> ListedSet:
    """List the images of annotation files, those without annotation left out.

    annotations and images: paths in the folder. image_name turns a file's name in the JSON into its name in the folder
    of images. InputError where something is missing or not in that layout.
    """
    files = [find_below(folder, path) for path in annotations]
    place = find_below(folder, images)
    entries = [entry for path in files for entry in _entries(path, place, image_name)]
    return list_set(name, folder, entries)


def coco_2017_name(file_name: str) -> str:
    """The name in COCO's folders of 2017 of an image that goes by its name of 2014, as in LVIS v0.5."""
    return file_name.rpartition("_")[2]


def _entries(path: Path, images: Path, image_name: Callable[[str], str]) -> Iterator[Entry]:
    content = read_json(path)
    try:
        names = {item["id"]: str(item["name"]) for item in content["categories"]}
        records = {item["id"]: item for item in content["images"]}
        outlines: dict[Any, list[Outline]] = {number: [] for number in records}
        for item in content["annotations"]:
            if item["image_id"] not in outlines:
                raise InputError(
                    f"{path}: annotation {item['id']} is of image {item['image_id']}, which is not listed"
                )
            category = names[item["category_id"]]
            outline = read_outline(item, category, item["segmentation"])
            outlines[item["image_id"]].append(outline)
        for number, record in records.items():
            if outlines[number]:
                file_name = image_name(_file_name(record))
                size_hw = (int(record["height"]), int(record["width"]))
                truth = Outlines(tuple(outlines[number]), size_hw)
                yield Entry(str(Path(file_name).with_suffix("")), images / file_name, truth)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not in COCO's layout of instances ({error})") from error


def _file_name(record: dict[str, Any]) -> str:
    # LVIS v1 has addresses in place of names.
    return str(record.get("file_name") or record["coco_url"].rpartition("/")[2])
