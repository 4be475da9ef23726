"""A user's own images with masks, in whichever of the common layouts: COCO, SA-1B, YOLO or pictures of labels.

What is read here is what every dataset gives; the layouts themselves are those of the neighbouring modules.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from segloop.data.coco_instances import open_coco
from segloop.data.label_folder import NoLabelsError, Reading, open_label_folder
from segloop.data.sa1b import holds_sa1b, open_sa1b
from segloop.data.sample import Annotation, Sample
from segloop.data.sets.listed import ListedSet
from segloop.data.sets.outlines import read_json
from segloop.data.yolo import class_names_of, find_labels, open_yolo
from segloop.errors import InputError, list_problems

LAYOUTS = (
    "a COCO file of instances, a tar or folder in SA-1B layout, a YOLO folder with images/ and labels/, "
    "or images with pictures of labels (NAME.jpg and NAME.png, or images/ and masks/)"
)
Progress = Callable[[int, int], None]

_SNIFFED = 20


class _Source(Protocol):
    def read(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class AnnotatedSet:
    """Images with masks from one source or several, in the order of the source.

    class_names: the classes that the source says there are, found in an image or not; none where it names none.
    """

    name: str
    sample_names: tuple[str, ...]
    _places: tuple[tuple[_Source, int], ...]
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._places)

    def read(self, index: int) -> Sample:
        """Decode sample `index`; InputError names the sample whose image or masks cannot be used."""
        source, place = self._places[index]
        return source.read(place)

    def subset(self, indices: Sequence[int]) -> AnnotatedSet:
        """The samples at these indices, in this order."""
        return replace(
            self,
            sample_names=tuple(self.sample_names[index] for index in indices),
            _places=tuple(self._places[index] for index in indices),
        )


@dataclass(frozen=True)
class Survey:
    """What a set holds. empty: indices of images without a mask. categories: masks of each class, where they are named.

    by_image: the same for each image, by its name.
    """

    num_images: int
    num_masks: int
    empty: tuple[int, ...]
    categories: dict[str, int]
    by_image: dict[str, Counter[str]] = field(default_factory=dict)

    def categories_in(self, part: AnnotatedSet) -> Counter[str]:
        """Masks of each class in some of the images."""
        counts: Counter[str] = Counter()
        for name in part.sample_names:
            counts.update(self.by_image.get(name, {}))
        return counts


def open_annotated(path: str | Path, *, reading: Reading = "auto") -> AnnotatedSet:
    """Open images with masks in the layout that is found there.

    path: a COCO file of instances, or FILE.json=FOLDER where its images are not near it; a tar or a folder in SA-1B layout,
    or a folder of such tars; a folder or a data.yaml in YOLO layout; a folder of images with pictures of labels. reading:
    how these are read, see open_label_folder. Raises InputError where nothing of that is found, and for annotations without
    their image.
    """
    file, equals, images = str(path).rpartition("=")
    if equals and file.endswith(".json") and not Path(path).exists():
        return _of_coco(Path(file), Path(images))
    place = Path(path)
    if not place.exists():
        raise InputError(f"{place}: no such file or folder")
    if place.suffix == ".json":
        return _of_coco(place, None)
    if place.suffix in (".yaml", ".yml"):
        return _of_yolo(place)
    if place.is_file():
        return _of_sa1b([place])
    return _open_folder(place, reading)


def survey(dataset: AnnotatedSet, progress: Progress | None = None) -> Survey:
    """Read everything once, so that what is wrong shows before hours are spent.

    progress is called with the images done and the images in all. Crowds and masks without a pixel do not count. InputError
    where no image has a mask, and where some cannot be used: it names up to ten of them.
    """
    empty: list[int] = []
    problems: list[str] = []
    by_image: dict[str, Counter[str]] = {}
    num_masks = 0
    for index in range(len(dataset)):
        try:
            usable = _usable(dataset, index)
        except InputError as error:
            problems.append(str(error))
        else:
            num_masks += len(usable)
            classes = Counter(one.category for one in usable if one.category is not None)
            by_image.setdefault(dataset.sample_names[index], Counter()).update(classes)
            if not usable:
                empty.append(index)
        if progress is not None:
            progress(index + 1, len(dataset))
    if problems:
        raise InputError(list_problems(problems))
    if not num_masks:
        raise InputError(f"{dataset.name}: no mask at all in {len(dataset)} images")
    categories = Counter(dict.fromkeys(dataset.class_names, 0))
    for counts in by_image.values():
        categories.update(counts)
    found = dict(sorted(categories.items()))
    return Survey(len(dataset), num_masks, tuple(empty), found, by_image)


def _usable(dataset: AnnotatedSet, index: int) -> list[Annotation]:
    """The masks of a sample that count; InputError where it cannot be read or one does not fit the image."""
    sample = dataset.read(index)
    for one in sample.annotations:
        if one.rle.size_hw != sample.image.shape[:2]:
            raise InputError(
                f"{dataset.name}/{sample.name}: a mask is {one.rle.size_hw} (height, width), "
                f"the image is {sample.image.shape[:2]}"
            )
    return [one for one in sample.annotations if not one.is_crowd and one.area > 0]


def hold_out(
    dataset: AnnotatedSet, share: float, *, by_name: bool = False
) -> tuple[AnnotatedSet, AnnotatedSet]:
    """Split by image into a part to train on and a part, of this share, to test on.

    Which images are held out hangs on a hash of their names, so that another order changes nothing; by_name takes the last
    in the order of names, for sequences whose neighbours look alike. InputError where either part would be empty.
    """
    if not 0 < share < 1:
        raise InputError(f"the share to hold out lies between 0 and 1, got {share:g}")
    keys = [
        (0 if by_name else zlib.crc32(name.encode("utf-8", "surrogatepass")), name)
        for name in dataset.sample_names
    ]
    ranked = sorted(range(len(dataset)), key=keys.__getitem__)
    num_held = max(1, round(share * len(dataset)))
    if num_held >= len(dataset):
        raise InputError(
            f"{dataset.name} has {len(dataset)} images with masks: too few to hold out {share:.0%} for the test"
        )
    cut = len(dataset) - num_held
    return dataset.subset(sorted(ranked[:cut])), dataset.subset(sorted(ranked[cut:]))


def _open_folder(folder: Path, reading: Reading) -> AnnotatedSet:
    if find_labels(folder):
        return _of_yolo(folder)
    if tars := sorted(folder.glob("*.tar")):
        return _of_sa1b(tars)
    files = sorted({*folder.glob("*.json"), *folder.glob("*/*.json")})
    coco = [file for file in files[:_SNIFFED] if _is_coco(file)]
    if len(coco) == 1:
        return _of_coco(coco[0], None)
    if coco:
        names = ", ".join(str(file.relative_to(folder)) for file in coco)
        raise InputError(f"{folder} holds several COCO files: name one of {names}")
    # Other programs leave JSON too, and so does a run whose output folder lies among the data.
    if holds_sa1b(folder):
        return _of_sa1b([folder])
    try:
        return _of_list(open_label_folder(folder, reading=reading))
    except NoLabelsError as error:
        raise InputError(f"{folder} holds nothing to train on; give {LAYOUTS}") from error


def _of_list(listed: ListedSet) -> AnnotatedSet:
    names = tuple(entry.name for entry in listed.entries)
    return AnnotatedSet(listed.name, names, tuple((listed, at) for at in range(len(listed))))


def _of_yolo(path: Path) -> AnnotatedSet:
    listed = open_yolo(path)
    return replace(_of_list(listed), class_names=class_names_of(listed))


def _of_sa1b(paths: Sequence[str | Path]) -> AnnotatedSet:
    opened = [open_sa1b(path) for path in paths]
    return AnnotatedSet(
        opened[0].name if len(opened) == 1 else Path(paths[0]).parent.resolve().name,
        tuple(name for one in opened for name in one.sample_names),
        tuple((one, at) for one in opened for at in range(len(one))),
    )


def _of_coco(file: Path, images: Path | None) -> AnnotatedSet:
    opened = open_coco(file, images or _images_of(file))
    places = tuple((opened, at) for at in range(len(opened)))
    names = tuple(category.name for category in opened.categories)
    return AnnotatedSet(opened.name, opened.sample_names, places, names)


def _is_coco(file: Path) -> bool:
    """SA-1B's files have one "image", COCO's have "images"."""
    try:
        content: Any = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def _images_of(file: Path) -> Path:
    """The folder that the first image of a COCO file lies in, among those near the file."""
    content = read_json(file)
    try:
        first = str(content["images"][0]["file_name"])
    except (IndexError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is not in COCO's layout of instances: it names no image"
        ) from error
    part = file.stem.rpartition("_")[2]
    near = [
        place / inner
        for place in (file.parent, file.parent.parent)
        for inner in ("", "images", part)
    ]
    found = next((place for place in near if (place / first).is_file()), None)
    if found is None:
        raise InputError(
            f"{file}: its image {first} is not beside it, nor in images/; say where: {file}=FOLDER"
        )
    return found
