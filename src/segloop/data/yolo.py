"""YOLO's layout of outlines, read: images/ beside labels/, where NAME.txt has a line for each object of NAME.jpg.

A line is the number of a class, then x and y of every corner as shares of the image's width and height. Names of the
classes, if any, stand in a data.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segloop.data.folder import IMAGE_SUFFIXES
from segloop.data.sample import Annotation
from segloop.data.sets.listed import Entry, ListedSet, annotate, list_set
from segloop.data.sets.outlines import check_within, rle_of_polygons
from segloop.errors import InputError

_CONFIG_SUFFIXES = (".yaml", ".yml")
# Some programs leave the list of classes among the labels.
_NO_LABELS = ("classes.txt",)


@dataclass(frozen=True)
class YoloLabels:
    """The outlines of one image. class_names: by number; empty where no data.yaml says them."""

    path: Path
    class_names: Mapping[int, str]

    def count(self) -> int:
        """How many objects there are."""
        return sum(1 for _ in self._objects())

    def annotations(self, image_hw: tuple[int, int]) -> tuple[Annotation, ...]:
        """The objects, numbered from 1; InputError names the line that is no outline."""
        height, width = image_hw
        found = []
        for number, (category, corners) in enumerate(self._objects(), start=1):
            sides = (width, height) * (len(corners) // 2)
            polygon = tuple(share * side for share, side in zip(corners, sides, strict=True))
            found.append(annotate(rle_of_polygons([polygon], image_hw), number, category))
        return tuple(found)

    def _objects(self) -> Iterator[tuple[str, tuple[float, ...]]]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the labels {self.path}: {error}") from error
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield _read_line(line, self.class_names)
                except InputError as error:
                    raise InputError(f"{self.path}, line {number}: {error}") from error


def open_yolo(path: str | Path, name: str | None = None) -> ListedSet:
    """Open a folder, or its data.yaml: all images that have labels, whatever part (train, val, ...) they are in.

    images/ and labels/ lie in the folder itself or in folders in it. name: of the set, by default the folder's. Raises
    InputError for labels without an image and for a folder without labels; a bad line is found when it is read.
    """
    given = Path(path)
    if given.suffix in _CONFIG_SUFFIXES:
        config = _read_config(given)
        folder = given.parent / str(config.get("path") or "")
        folder = folder if folder.is_dir() else given.parent
    else:
        folder = given
        configs = [one for suffix in _CONFIG_SUFFIXES for one in sorted(folder.glob(f"*{suffix}"))]
        config = _read_config(configs[0]) if configs else {}
    class_names = _class_names(config)
    entries = [
        entry for labels in find_labels(folder) for entry in _entries(folder, labels, class_names)
    ]
    if not entries:
        raise InputError(f"{folder} holds no labels/NAME.txt beside images/NAME.jpg (YOLO layout)")
    return list_set(name or folder.resolve().name, folder, entries)


def class_names_of(listed: ListedSet) -> tuple[str, ...]:
    """The classes that a set's data.yaml names."""
    names = {
        name
        for entry in listed.entries
        if isinstance(entry.truth, YoloLabels)
        for name in entry.truth.class_names.values()
    }
    return tuple(sorted(names))


def find_labels(folder: Path) -> list[Path]:
    """The folders of labels, in the folder itself or one below, that hold text files and lie beside images."""
    places = [folder / "labels", *sorted(folder.glob("*/labels"))]
    return [
        place
        for place in places
        if (place.parent / "images").is_dir() and next(place.rglob("*.txt"), None) is not None
    ]


def _entries(folder: Path, labels: Path, class_names: Mapping[int, str]) -> Iterator[Entry]:
    images = labels.parent / "images"
    found = {
        path.relative_to(images).with_suffix(""): path
        for path in sorted(images.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    for path in sorted(labels.rglob("*.txt")):
        inner = path.relative_to(labels).with_suffix("")
        if inner not in found:
            if path.name in _NO_LABELS:
                continue
            raise InputError(f"{path}: labels without an image: there is no {images / inner}.jpg")
        place = (images.relative_to(folder) / inner).as_posix()
        yield Entry(place, found[inner], YoloLabels(path, class_names))


def _read_line(line: str, class_names: Mapping[int, str]) -> tuple[str, tuple[float, ...]]:
    try:
        number, *corners = map(float, line.split())
    except ValueError as error:
        raise InputError("expected a class number and corners x y x y ...") from error
    if len(corners) == 4:
        raise InputError("a box, not an outline; export the labels for segmentation (YOLO-seg)")
    if len(corners) < 6 or len(corners) % 2:
        raise InputError(f"an outline is three or more pairs x y, got {len(corners)} numbers")
    try:
        check_within(corners, (1.0, 1.0))
    except InputError as error:
        raise InputError(f"{error}; corners are shares of its width and height, 0 to 1") from error
    if not number.is_integer() or number < 0:
        raise InputError(f"a class is a whole number from 0 on, got {number:g}")
    if class_names and int(number) not in class_names:
        raise InputError(f"class {int(number)} is missing among the names in data.yaml")
    name = class_names.get(int(number), str(int(number)))
    return name, tuple(min(1.0, max(0.0, one)) for one in corners)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise InputError(
            f"reading {path.name} takes one more package: pip install pyyaml"
        ) from error
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read {path}: {reason}") from error
    return content if isinstance(content, dict) else {}


def _class_names(config: Mapping[str, Any]) -> dict[int, str]:
    names = config.get("names") or {}
    pairs = enumerate(names) if isinstance(names, list) else dict(names).items()
    return {int(number): str(name) for number, name in pairs}
