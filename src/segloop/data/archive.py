"""Where bytes lie: in a file of their own, or as a member of an uncompressed tar.

A tar is indexed once and its members are read by offset, so any of them can be had at any time, by many processes.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segloop.errors import InputError


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


def tar_members(path: Path) -> dict[str, Member]:
    """The files in a tar by their full names, the last of each name; InputError unless it is whole and uncompressed."""
    try:
        with tarfile.open(path, "r:") as archive:
            infos = archive.getmembers()
        _check_end(path, infos)
    except tarfile.TarError as error:
        raise InputError(f"{path} is not an uncompressed tar, or is damaged: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return {info.name: Member(path, info.offset_data, info.size) for info in infos if info.isfile()}


def _check_end(path: Path, infos: Sequence[tarfile.TarInfo]) -> None:
    """A tar cut between two members reads like a shorter one; only the block of zeros at its end tells."""
    ends = (
        info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE for info in infos
    )
    with path.open("rb") as stream:
        stream.seek(max(ends, default=0))
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is cut short")
