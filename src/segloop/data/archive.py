"""Where bytes lie: in a file of their own, or as a member of an uncompressed tar.

A tar is indexed once and its members are read by offset, so any of them can be had at any time, by many processes. An index
published beside it (segloop.data.remote.write_index) spares the walk through its headers.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segloop.errors import InputError

INDEX_SUFFIX = ".index.json"


@dataclass(frozen=True)
class Member:
    """Where some bytes lie: a file, and the part of it for a tar's member."""

    path: Path
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """The bytes; OSError where they cannot be read."""
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read() if self.size is None else stream.read(self.size)


@dataclass(frozen=True)
class TarIndex:
    """What an index file says: bytes in the tar, and name, offset and size of each member."""

    size: int
    members: tuple[tuple[str, int, int], ...]


def tar_members(path: Path) -> dict[str, Member]:
    """The files in a tar by their full names, the last of each name.

    An index beside it is believed if it is for a tar of this size and no older than the tar; else the tar is walked through.
    InputError unless it is whole and uncompressed.
    """
    index = _index_beside(path)
    if index is None:
        return scan_tar(path)
    return {name: Member(path, offset, size) for name, offset, size in index.members}


def parse_index(content: str | bytes) -> TarIndex:
    """An index from the content of its file; ValueError where it is none, or points out of its tar."""
    try:
        record = json.loads(content)
        size = int(record["size"])
        members = tuple((str(name), int(at), int(length)) for name, at, length in record["members"])
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError("it is no index of a tar") from error
    if any(min(at, length) < 0 or at + length > size for _, at, length in members):
        raise ValueError("it points out of its tar")
    return TarIndex(size, members)


def scan_tar(path: Path) -> dict[str, Member]:
    """What tar_members gives, by the headers of the tar alone."""
    try:
        with tarfile.open(path, "r:") as archive:
            infos = archive.getmembers()
        _check_end(path, infos)
    except tarfile.TarError as error:
        raise InputError(f"{path} is not an uncompressed tar, or is damaged: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return {info.name: Member(path, info.offset_data, info.size) for info in infos if info.isfile()}


def _index_beside(path: Path) -> TarIndex | None:
    """The index published with a tar; None where there is none, or it is damaged or of another state of the tar."""
    beside = path.with_name(path.name + INDEX_SUFFIX)
    try:
        tar, own = path.stat(), beside.stat()
        index = parse_index(beside.read_bytes())
    except (OSError, ValueError):
        return None
    return index if index.size == tar.st_size and own.st_mtime_ns >= tar.st_mtime_ns else None


def _check_end(path: Path, infos: Sequence[tarfile.TarInfo]) -> None:
    """A tar cut between two members reads like a shorter one; only the block of zeros at its end tells."""
    ends = (
        info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE for info in infos
    )
    with path.open("rb") as stream:
        stream.seek(max(ends, default=0))
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is cut short")
