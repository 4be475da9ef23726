"""The SA-1B layout, read and written: NAME.jpg beside NAME.json, in a folder or a tar (paper §5).

Reading is lazy: a sample is decoded when it is asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from segloop.data.archive import Member, tar_members
from segloop.data.image import load_image
from segloop.data.records import check_extent, check_scores, index_by_id
from segloop.data.remote import RemoteMember, is_remote, remote_matches, remote_tar_members
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import FloatArray
from segloop.geometry.rle import Rle

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

AnyMember = Member | RemoteMember


@dataclass(frozen=True)
class SA1BDataset:
    """The samples of one tar or folder, in the order of their names. parent: name of the folder that it lies in."""

    name: str
    _entries: tuple[tuple[str, AnyMember, AnyMember], ...]
    parent: str = ""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Name of each sample: its path in the folder, its file name in the tar or its path if two share one; no suffix."""
        return tuple(entry[0] for entry in self._entries)

    def subset(self, indices: Sequence[int]) -> SA1BDataset:
        """The samples at these indices, in this order."""
        return replace(self, _entries=tuple(self._entries[index] for index in indices))

    def read(self, index: int) -> Sample:
        """Decode sample `index`; InputError names the sample whose image or JSON cannot be used."""
        name, image_member, _ = self._entries[index]
        annotations = self.read_annotations(index)
        encoded = self._bytes(name, image_member)
        try:
            image = load_image(encoded)
        except InputError as error:
            raise InputError(f"{self.name}/{name}: {error}") from error
        for annotation in annotations:
            if annotation.rle.size_hw != image.shape[:2]:
                raise InputError(
                    f"{self.name}/{name}: a mask is {annotation.rle.size_hw} (height, width), "
                    f"the image is {image.shape[:2]}"
                )
        return Sample(name, image, annotations)

    def read_annotations(self, index: int) -> tuple[Annotation, ...]:
        """The annotations of sample `index`, without decoding its image."""
        name, _, json_member = self._entries[index]
        encoded = self._bytes(name, json_member)
        try:
            items = index_by_id(json.loads(encoded)["annotations"], "annotation")
            return tuple(_annotation(item) for item in items.values())
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{self.name}/{name}: its JSON is not in SA-1B layout ({error})"
            ) from error

    def _bytes(self, name: str, member: AnyMember) -> bytes:
        try:
            return member.read()
        except OSError as error:
            raise InputError(
                f"{self.name}/{name}: cannot read {member.path}: {error.strerror or error}"
            ) from error


def open_sa1b(path: str | Path) -> SA1BDataset:
    """Index a tar or a folder; images without JSON are left out.

    Raises InputError where there is none, no image in it has its JSON, or annotations lack their image.
    A tar may lie at any address that fsspec reaches, such as https:// or s3://; see segloop.data.remote.
    """
    members: Mapping[str, AnyMember]
    if is_remote(path):
        members = _tar_files(remote_tar_members(str(path)))
        return _dataset(path, members)
    source = Path(path)
    if source.is_dir():
        members = _folder_members(source)
    elif source.is_file():
        members = _tar_files(tar_members(source))
    else:
        raise InputError(f"{source}: no such tar or folder")
    return _dataset(source, members)


def name_set(path: str | Path) -> tuple[str, str]:
    """What a tar or folder is called, and the folder that it lies in."""
    place = PurePosixPath(str(path)) if is_remote(path) else Path(path).absolute()
    return place.name.removesuffix(".tar"), place.parent.name


def _dataset(path: str | Path, members: Mapping[str, AnyMember]) -> SA1BDataset:
    entries = tuple((stem, image, record) for stem, _, image, record in _pair(members))
    _check_images(str(path), members, {stem for stem, _, _ in entries})
    if not entries:
        raise InputError(f"{path} holds no NAME.jpg with a NAME.json beside it (SA-1B layout)")
    name, parent = name_set(path)
    return SA1BDataset(name, entries, parent)


def open_all_sa1b(paths: Sequence[str | Path]) -> tuple[SA1BDataset, ...]:
    """Index several; a folder of tars stands for the tars in it."""
    return tuple(open_sa1b(path) for path in find_sa1b(paths))


def find_sa1b(paths: Sequence[str | Path]) -> list[str | Path]:
    """The tars and folders that these paths stand for: a folder of tars, or a remote pattern, for the tars in it."""
    found: list[str | Path] = []
    for given in paths:
        if is_remote(given):
            found.extend(remote_matches(str(given)))
            continue
        path = Path(given)
        tars = sorted(path.glob("*.tar")) if path.is_dir() else []
        found.extend(tars or [path])
    return found


def holds_sa1b(folder: Path) -> bool:
    """Whether a NAME.json has an image beside it, anywhere in a folder."""
    return bool(_pair(_folder_members(folder)))


def image_id_of(file_name: str) -> int:
    """The number of an image: SA-1B's own for sa_NUMBER.jpg, else one that hangs on nothing but the name."""
    own = re.fullmatch(r"sa_(\d{1,15})", PurePosixPath(file_name).stem)
    if own:
        return int(own[1])
    encoded = file_name.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=6).digest(), "big")


def encode_sa1b(masks: EncodedMasks, file_name: str, image_id: int) -> bytes:
    """The JSON file of an image's masks, with exactly SA-1B's keys; ids count from 1.

    Boxes are as SA-1B has them: x, y, and width and height to the last pixel, so a mask of one pixel has 0 and 0.
    """
    height, width = masks.image_hw
    image = {"image_id": image_id, "width": width, "height": height, "file_name": file_name}
    record = {"image": image, "annotations": [_record(masks, row) for row in range(len(masks))]}
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii")


def encode_annotations(
    annotations: Sequence[Annotation], file_name: str, image_id: int, image_hw: tuple[int, int]
) -> bytes:
    """The JSON file of an image's annotations, as open_sa1b reads it; category and iscrowd only where they say anything."""
    height, width = image_hw
    image = {"image_id": image_id, "width": width, "height": height, "file_name": file_name}
    items = [
        {
            "id": one.id,
            "segmentation": one.rle.to_json(),
            "bbox": list(one.bbox_xywh),
            "area": one.area,
            **({"category": one.category} if one.category is not None else {}),
            **({"iscrowd": 1} if one.is_crowd else {}),
        }
        for one in annotations
    ]
    record = {"image": image, "annotations": items}
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii")


def decode_sa1b(content: bytes) -> EncodedMasks:
    """The masks of a file that encode_sa1b wrote; InputError for another.

    The layout has no place for prompt_index and output_index: they are 0.
    """
    try:
        record = json.loads(content)
        items = record["annotations"]
        none = EncodedMasks.none((record["image"]["height"], record["image"]["width"]))
        if not items:
            return none
        for item in items:
            check_extent(item["bbox"], item["area"])
            check_scores((item["predicted_iou"], item["stability_score"]))
        return EncodedMasks(
            image_hw=none.image_hw,
            rles=tuple(Rle.from_json(item["segmentation"]) for item in items),
            boxes_xyxy=_corners([item["bbox"] for item in items]),
            areas=np.array([item["area"] for item in items], dtype=np.int64),
            predicted_iou=np.array([item["predicted_iou"] for item in items], dtype=np.float32),
            stability_score=np.array([item["stability_score"] for item in items], dtype=np.float32),
            points_xy=np.array([item["point_coords"][0] for item in items], dtype=np.float32),
            crop_boxes_xyxy=_corners([item["crop_box"] for item in items]),
            prompt_index=np.zeros(len(items), dtype=np.int64),
            output_index=np.zeros(len(items), dtype=np.int64),
        )
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"not the SA-1B layout that segloop writes ({error})") from error


def _corners(boxes_xywh: Sequence[Sequence[int]]) -> FloatArray:
    boxes = np.array(boxes_xywh, dtype=np.float32).reshape(len(boxes_xywh), 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _record(masks: EncodedMasks, row: int) -> dict[str, Any]:
    return {
        "id": row + 1,
        "segmentation": masks.rles[row].to_json(),
        "bbox": _xywh(masks.boxes_xyxy[row]),
        "area": int(masks.areas[row]),
        "predicted_iou": float(masks.predicted_iou[row]),
        "stability_score": float(masks.stability_score[row]),
        "crop_box": _xywh(masks.crop_boxes_xyxy[row]),
        "point_coords": [masks.points_xy[row].tolist()],
    }


def _xywh(box_xyxy: FloatArray) -> list[int]:
    x0, y0, x1, y1 = (round(float(side)) for side in box_xyxy)
    return [x0, y0, x1 - x0, y1 - y0]


def _folder_members(folder: Path) -> dict[str, AnyMember]:
    """The files below a folder by their paths in it; what begins with a dot is hidden."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    inner = {path.relative_to(folder): path for path in files}
    return {
        name.as_posix(): Member(path)
        for name, path in inner.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def _tar_files(members: Mapping[str, AnyMember]) -> dict[str, AnyMember]:
    """The files of a tar by their names, or by their paths in it where those of two samples would share a name."""
    by_path = {PurePosixPath(name): member for name, member in members.items()}
    by_name = {path.name: member for path, member in by_path.items()}
    counts = Counter(path.name for path in by_path)
    of_samples = {
        name
        for stem, suffix, _, _ in _pair(by_name)
        for name in (f"{stem}{suffix}", f"{stem}.json")
    }
    if any(counts[name] > 1 for name in of_samples):
        return {path.as_posix(): member for path, member in by_path.items()}
    return by_name


def _check_images(source: str, members: Mapping[str, AnyMember], paired: Set[str]) -> None:
    """Raises InputError for annotations without their image; JSON files of another kind may lie among them."""
    for file_name, member in sorted(members.items()):
        stem = file_name.removesuffix(".json")
        if stem == file_name or stem in paired or not _holds_annotations(source, member):
            continue
        raise InputError(
            f"{source}: {file_name} has no image beside it ({stem}.jpg, .jpeg or .png): "
            "add the image, or take the file away"
        )


def _holds_annotations(source: str, member: AnyMember) -> bool:
    try:
        record = json.loads(member.read())
    except OSError as error:
        raise InputError(
            f"{source}: cannot read {member.path}: {error.strerror or error}"
        ) from error
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and {"image", "annotations"} <= record.keys()


def _pair(members: Mapping[str, AnyMember]) -> list[tuple[str, str, AnyMember, AnyMember]]:
    """Name, suffix, image and JSON of each image that has one."""
    entries = []
    for file_name, member in sorted(members.items()):
        stem, dot, suffix = file_name.rpartition(".")
        record = members.get(f"{stem}.json")
        if dot and f".{suffix.lower()}" in _IMAGE_SUFFIXES and record is not None:
            entries.append((stem, f".{suffix}", member, record))
    return entries


def _annotation(item: dict[str, Any]) -> Annotation:
    x, y, width, height = (float(value) for value in item["bbox"])
    area = float(item["area"])
    scores = (item.get("predicted_iou"), item.get("stability_score"))
    try:
        check_extent((x, y, width, height), area)
        check_scores(float(score) for score in scores if score is not None)
    except InputError as error:
        raise InputError(f"annotation {item['id']}: {error}") from error
    category = item.get("category")
    return Annotation(
        rle=Rle.from_json(item["segmentation"]),
        area=area,
        bbox_xywh=(x, y, width, height),
        id=int(item["id"]),
        category=None if category is None else str(category),
        is_crowd=bool(item.get("iscrowd", False)),
    )
