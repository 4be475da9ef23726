"""Tars that lie elsewhere: http(s)://, s3:// and whatever else fsspec reaches, read member by member.

A tar is indexed once, by the index published beside it or else by its headers, and the index is kept in the cache folder.
After that any member can be had at any time by any process, as from a local tar.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from segloop.data.archive import INDEX_SUFFIX, parse_index, scan_tar
from segloop.data.caches import cache_folder
from segloop.errors import InputError

_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.2
_BLOCK_BYTES = 1 << 20
_OURS = ("http", "https", "s3")
_INSTALL = 'pip install "segloop[remote]"'


@dataclass(frozen=True)
class RemoteMember:
    """Where some bytes lie: an address, and the part of it for a tar's member."""

    path: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The bytes; OSError where they cannot be had, after a few attempts."""
        if not self.size:
            return b""
        start, end = self.offset, self.offset + self.size
        found: bytes = _patiently(
            self.path, lambda system, place: system.cat_file(place, start=start, end=end)
        )
        if len(found) != self.size:
            raise OSError(None, f"{len(found)} of {self.size} bytes came")
        return found


def is_remote(path: str | Path) -> bool:
    """Whether a path is an address of fsspec's."""
    return "://" in str(path)


def remote_matches(address: str) -> list[str]:
    """The addresses that a pattern stands for, in order; the address itself without * or ?. InputError for no match."""
    if not any(sign in address for sign in "*?["):
        return [address]
    found = _ask(
        address, lambda system, place: [system.unstrip_protocol(one) for one in system.glob(place)]
    )
    if not found:
        raise InputError(f"{address}: nothing matches")
    return sorted(found)


def remote_tar_members(address: str) -> dict[str, RemoteMember]:
    """The files in a tar by their full names, the last of each name.

    Raises InputError where it cannot be reached, is no uncompressed tar, or an index published beside it (made by
    write_index) is of another state of the tar.
    """
    info = _ask(address, lambda system, place: system.info(place))
    size = info.get("size")
    if not size:
        raise InputError(
            f"{address}: its server does not tell its size, so no part of it can be read alone"
        )
    stamp = [
        int(size),
        str(info.get("ETag") or info.get("LastModified") or info.get("mtime") or ""),
    ]
    kept = cache_folder() / "tars" / f"{hashlib.sha256(address.encode()).hexdigest()[:32]}.json"
    members = _kept_members(kept, stamp)
    if members is None:
        members = _published_members(address, int(size)) or _scanned_members(address)
        _keep(kept, {"address": address, "stamp": stamp, "members": members})
    return {str(name): RemoteMember(address, int(at), int(length)) for name, at, length in members}


def write_index(path: str | Path) -> Path:
    """Write NAME.tar.index.json beside a local tar; spares readers, here or where both lie later, the walk through it."""
    tar = Path(path)
    members = [[name, one.offset, one.size] for name, one in scan_tar(tar).items()]
    target = tar.with_name(tar.name + INDEX_SUFFIX)
    partial = target.with_name(target.name + ".partial")
    try:
        partial.write_text(json.dumps({"size": tar.stat().st_size, "members": members}))
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _published_members(address: str, size: int) -> list[list[Any]] | None:
    beside = address + INDEX_SUFFIX
    try:
        content = _patiently(beside, lambda system, place: system.cat_file(place))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {beside}: {error.strerror or error}") from error
    try:
        index = parse_index(content)
    except ValueError as error:
        raise InputError(f"{beside} is no index of a tar; make it anew or take it away") from error
    if index.size != size:
        raise InputError(
            f"{beside} is of a tar of {index.size} bytes, {address} has {size}; make it anew or take it away"
        )
    return [list(member) for member in index.members]


def _scanned_members(address: str) -> list[list[Any]]:
    def scan(system: Any, place: str) -> list[list[Any]]:
        with (
            system.open(place, "rb", block_size=_BLOCK_BYTES, cache_type="readahead") as stream,
            tarfile.open(fileobj=stream, mode="r:") as archive,
        ):
            infos = {one.name: one for one in archive.getmembers() if one.isfile()}
        return [[one.name, one.offset_data, one.size] for one in infos.values()]

    try:
        found: list[list[Any]] = _ask(address, scan)
    except tarfile.TarError as error:
        raise InputError(f"{address} is not an uncompressed tar, or is damaged: {error}") from error
    return found


def _kept_members(kept: Path, stamp: list[Any]) -> list[list[Any]] | None:
    try:
        record = json.loads(kept.read_text())
        return list(record["members"]) if record["stamp"] == stamp else None
    except (OSError, KeyError, TypeError, ValueError):
        return None  # not there, or damaged: it is made again


def _keep(kept: Path, record: dict[str, Any]) -> None:
    partial = kept.with_suffix(f".{os.getpid()}.partial")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(record))
        os.replace(partial, kept)
    except OSError:
        partial.unlink(missing_ok=True)  # a cache that cannot be written is no cache


def _ask(address: str, question: Any) -> Any:
    """The answer of an address's file system; InputError in one line where there is none."""
    try:
        return _patiently(address, question)
    except FileNotFoundError as error:
        raise InputError(f"{address}: no such file") from error
    except OSError as error:
        raise InputError(f"cannot read {address}: {error.strerror or error}") from error


def _patiently(address: str, question: Any) -> Any:
    """Ask a few times, with longer and longer pauses; OSError where all attempts fail."""
    for attempt in range(1, _ATTEMPTS):
        with suppress(_TryAgainError):
            return _once(address, question)
        time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
    try:
        return _once(address, question)
    except _TryAgainError as error:
        raise OSError(None, str(error)) from error


class _TryAgainError(Exception):
    pass


def _once(address: str, question: Any) -> Any:
    system = _file_system(address.split("://")[0], os.getpid())
    try:
        return question(system, system._strip_protocol(address))
    except (FileNotFoundError, PermissionError, tarfile.TarError):
        raise
    except Exception as error:  # each file system has errors of its own
        lines = str(error).strip().splitlines()
        raise _TryAgainError(lines[0] if lines else type(error).__name__) from error


@lru_cache(maxsize=8)
def _file_system(protocol: str, process: int) -> Any:
    """One for each process: a worker must not share its parent's connections."""
    del process
    try:
        import fsspec

        return fsspec.filesystem(protocol, skip_instance_cache=True)
    except ImportError as error:
        hint = _INSTALL if protocol in _OURS else "see fsspec's documentation"
        raise InputError(f"{protocol}:// cannot be read ({error}); {hint}") from error
    except ValueError as error:
        raise InputError(f"{protocol}:// is no protocol that fsspec knows") from error
