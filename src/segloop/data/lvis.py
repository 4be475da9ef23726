"""LVIS v0.5 and v1, read: COCO's layout with categories by frequency, and images searched for some categories only.

The images are COCO's of 2017: v1 gives their addresses, v0.5 their file names of 2014.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from segloop.data.coco_instances import CocoInstances, Layout, open_coco
from segloop.data.records import Record
from segloop.data.sample import Frequency, Labelling
from segloop.errors import InputError

RARE_BELOW, COMMON_BELOW = 10, 100
_MARKS = (b'"neg_category_ids"', b'"not_exhaustive_category_ids"')
_LETTERS: dict[str, Frequency] = {"f": "frequent", "c": "common", "r": "rare"}


def open_lvis(
    annotations: str | Path, images: str | Path, name: str | None = None
) -> CocoInstances:
    """Open lvis_v1_val.json and its like with COCO's images of 2017.

    images: the folder that holds train2017 and val2017 (the images of v1 val come from both), or one of them. Raises
    InputError as open_coco does, and for a file without what makes it LVIS.
    """
    path = Path(annotations)
    return CocoInstances(path, Path(images), name or path.stem, LVIS_LAYOUT)


def open_instances(
    annotations: str | Path, images: str | Path, name: str | None = None
) -> CocoInstances:
    """Open a file of instances in LVIS's layout where it says what its images were searched for, otherwise in COCO's.

    Raises InputError as open_lvis and open_coco do.
    """
    open_file = open_lvis if _is_lvis(Path(annotations)) else open_coco
    return open_file(annotations, images, name)


def frequency_of(num_images: int) -> Frequency:
    """LVIS's name for a category that so many training images show."""
    if num_images < RARE_BELOW:
        return "rare"
    return "common" if num_images < COMMON_BELOW else "frequent"


def _is_lvis(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False  # opening it says why
    return any(mark in content for mark in _MARKS)


def _file_names(record: Record) -> tuple[str, ...]:
    # COCO_val2014_000000396568.jpg goes by 000000396568.jpg since 2017.
    name = str(record.get("file_name") or "")
    names = [name, name.rpartition("_")[2]] if name else []
    if "coco_url" in record:
        parts = PurePosixPath(str(record["coco_url"])).parts
        names = ["/".join(parts[-2:]), parts[-1], *names]
    if not names:
        raise InputError(f"image {record['id']} has neither 'coco_url' nor 'file_name'")
    return tuple(dict.fromkeys(names))


def _frequency(record: Record) -> Frequency:
    if "frequency" in record:
        return _LETTERS[record["frequency"]]
    return frequency_of(int(record["image_count"]))


def _labelling(record: Record, names: Mapping[int, str]) -> Labelling:
    return Labelling(
        absent=frozenset(names[number] for number in record["neg_category_ids"]),
        incomplete=frozenset(names[number] for number in record["not_exhaustive_category_ids"]),
    )


LVIS_LAYOUT = Layout(_file_names, _frequency, _labelling)
