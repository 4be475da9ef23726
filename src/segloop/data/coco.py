"""COCO instances, written from images in SA-1B layout: one file for a data set, with one category.

The file is written as a stream: memory holds one image's masks, however many there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from segloop.data.archive import Member
from segloop.errors import InputError

CATEGORY = {"id": 1, "name": "object", "supercategory": ""}


def write_coco(stream: BinaryIO, records: Sequence[tuple[str, Member]]) -> int:
    """Write the COCO file of records that encode_sa1b wrote, (name, where it lies), and count its masks.

    Images and masks are numbered from 1 in the order given. file_name is a record's own, below the folder in its name.
    Boxes cover whole pixels, as COCO's do. InputError names a record that is not in SA-1B layout.
    """
    stream.write(b'{"info":{"description":"Masks made by segloop"},"licenses":[],\n"categories":')
    stream.write(_dump([CATEGORY]))
    stream.write(b',\n"images":[')
    _write_items(stream, _images(records))
    stream.write(b'],\n"annotations":[')
    count = _write_items(stream, _annotations(records))
    stream.write(b"]}\n")
    return count


def _images(records: Sequence[tuple[str, Member]]) -> Iterator[dict[str, Any]]:
    for number, (name, member) in enumerate(records, start=1):
        image = _read(name, member)["image"]
        file_name = str(PurePosixPath(name).parent / image["file_name"])
        yield {
            "id": number,
            "width": image["width"],
            "height": image["height"],
            "file_name": file_name,
        }


def _annotations(records: Sequence[tuple[str, Member]]) -> Iterator[dict[str, Any]]:
    number = 0
    for image_number, (name, member) in enumerate(records, start=1):
        for item in _read(name, member)["annotations"]:
            number += 1
            yield {
                "id": number,
                "image_id": image_number,
                "category_id": CATEGORY["id"],
                "segmentation": item["segmentation"],
                "bbox": _whole_pixels(item["bbox"], item["area"]),
                "area": item["area"],
                "iscrowd": 0,
                "predicted_iou": item["predicted_iou"],
                "stability_score": item["stability_score"],
            }


def _whole_pixels(bbox: Sequence[int], area: int) -> list[int]:
    """A box to the last pixel as one that holds it."""
    x, y, width, height = bbox
    return [x, y, width + 1, height + 1] if area else [x, y, 0, 0]


def _read(name: str, member: Member) -> dict[str, Any]:
    try:
        record = json.loads(member.read())
        return {"image": record["image"], "annotations": record["annotations"]}
    except OSError as error:
        raise InputError(f"{name}: cannot read {member.path}: {error.strerror or error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{name}: {member.path} is not in SA-1B layout") from error


def _write_items(stream: BinaryIO, items: Iterable[dict[str, Any]]) -> int:
    count = 0
    for item in items:
        stream.write(b",\n" if count else b"\n")
        stream.write(_dump(item))
        count += 1
    return count


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
