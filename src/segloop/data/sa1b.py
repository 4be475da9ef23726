"""Datasets in SA-1B layout: NAME.jpg beside NAME.json, in a folder or a tar (paper §5).

A tar is indexed once and its members are read by offset, so any sample can be had at any time, by many processes.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segloop.data.image import load_image
from segloop.data.sample import Annotation, Sample
from segloop.errors import InputError
from segloop.geometry.rle import Rle

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class _Member:
    """Where some bytes lie: a file, and the part of it for a tar's member."""

    path: Path
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read() if self.size is None else stream.read(self.size)


@dataclass(frozen=True)
class SA1BDataset:
    """The samples of one tar or folder, in the order of their names."""

    name: str
    _entries: tuple[tuple[str, _Member, _Member], ...]

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Name of each sample: its file name without suffix."""
        return tuple(entry[0] for entry in self._entries)

    def subset(self, indices: Sequence[int]) -> SA1BDataset:
        """The samples at these indices, in this order."""
        return SA1BDataset(self.name, tuple(self._entries[index] for index in indices))

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
            record = json.loads(encoded)
            return tuple(_annotation(item) for item in record["annotations"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{self.name}/{name}: its JSON is not in SA-1B layout ({error})"
            ) from error

    def _bytes(self, name: str, member: _Member) -> bytes:
        try:
            return member.read()
        except OSError as error:
            raise InputError(
                f"{self.name}/{name}: cannot read {member.path}: {error.strerror}"
            ) from error


def open_sa1b(path: str | Path) -> SA1BDataset:
    """Index a tar or a folder; InputError where there is none, or no image in it has its JSON."""
    source = Path(path)
    if source.is_dir():
        members = {file.name: _Member(file) for file in sorted(source.iterdir()) if file.is_file()}
    elif source.is_file():
        members = _tar_members(source)
    else:
        raise InputError(f"{source}: no such tar or folder")
    entries = _pair(members)
    if not entries:
        raise InputError(f"{source} holds no NAME.jpg with a NAME.json beside it (SA-1B layout)")
    return SA1BDataset(source.name.removesuffix(".tar"), entries)


def open_all_sa1b(paths: Sequence[str | Path]) -> tuple[SA1BDataset, ...]:
    """Index several; a folder of tars stands for the tars in it."""
    found: list[Path] = []
    for path in map(Path, paths):
        tars = sorted(path.glob("*.tar")) if path.is_dir() else []
        found.extend(tars or [path])
    return tuple(open_sa1b(path) for path in found)


def _tar_members(path: Path) -> dict[str, _Member]:
    try:
        with tarfile.open(path, "r:") as archive:
            infos = archive.getmembers()
        _check_end(path, infos)
    except tarfile.TarError as error:
        raise InputError(f"{path} is not an uncompressed tar, or is damaged: {error}") from error
    return {
        Path(info.name).name: _Member(path, info.offset_data, info.size)
        for info in infos
        if info.isfile()
    }


def _check_end(path: Path, infos: Sequence[tarfile.TarInfo]) -> None:
    """A tar cut between two members reads like a shorter one; only the block of zeros at its end tells."""
    ends = (
        info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE for info in infos
    )
    with path.open("rb") as stream:
        stream.seek(max(ends, default=0))
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is cut short")


def _pair(members: dict[str, _Member]) -> tuple[tuple[str, _Member, _Member], ...]:
    entries = []
    for file_name, member in sorted(members.items()):
        stem, dot, suffix = file_name.rpartition(".")
        record = members.get(f"{stem}.json")
        if dot and f".{suffix.lower()}" in _IMAGE_SUFFIXES and record is not None:
            entries.append((stem, member, record))
    return tuple(entries)


def _annotation(item: dict[str, Any]) -> Annotation:
    x, y, width, height = (float(value) for value in item["bbox"])
    category = item.get("category")
    return Annotation(
        rle=Rle.from_json(item["segmentation"]),
        area=float(item["area"]),
        bbox_xywh=(x, y, width, height),
        id=int(item["id"]),
        category=None if category is None else str(category),
        is_crowd=bool(item.get("iscrowd", False)),
    )
