"""A file of lines that outlives its writer: what is done of a long run, each line on the disk before the next is begun.

A line that a full disk or a kill cut short counts as not written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segloop.errors import InputError


def read_lines(path: Path) -> list[bytes]:
    """The whole lines, without their ends; none where there is no file. What follows the last whole line is cut off."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return whole.splitlines()


def append_line(path: Path, line: bytes) -> None:
    """Add a line and flush it to the disk; where that fails the file is as before, and the OSError is raised."""
    rest = memoryview(line + b"\n")
    # Without a buffer: closing would write what is left of it after the file was cut.
    with path.open("ab", buffering=0) as stream:
        length = stream.seek(0, os.SEEK_END)
        try:
            while rest:
                rest = rest[stream.write(rest) :]
            os.fsync(stream.fileno())
        except OSError:
            os.truncate(path, length)
            raise


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """A lock on a folder that ends with the process, however it ends; none where the system has no such thing.

    Raises InputError where another process has it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another run is writing to {folder}: wait for it, or name another folder"
            ) from error
        except OSError:  # some network disks have no locks
            pass
        yield
    finally:
        os.close(handle)
