"""Packed embeddings kept in memory and on disk, so that an image is encoded once, whoever asks and how often.

Everything is in the wire form of segloop.predict.wire. A key names the weights, the image's bytes and the region, so an
entry never goes stale; what was not used for longest goes when there is no room.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from cachetools import LRUCache

from segloop.backends.base import Embedding
from segloop.data.caches import cache_folder
from segloop.errors import InputError
from segloop.predict.wire import pack_embedding, unpack_embedding

_ID_DIGITS = 32
_KEY = re.compile(r"[0-9a-f][0-9a-f_-]{0,199}")
_PARTIAL_PREFIX = "partial."


class EmbeddingCache:
    """Embeddings by key, at most so many bytes of them in memory and in one folder. Thread-safe.

    folder: where they outlive the process, shared with others that use it; None for memory alone. max_parallel: how many
    different embeddings are computed at once.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        max_memory_bytes: int,
        max_disk_bytes: int,
        max_parallel: int = 1,
    ) -> None:
        self._folder = folder
        self._max_disk_bytes = max_disk_bytes
        self._lock = threading.Lock()
        self._disk_lock = threading.Lock()
        self._memory: LRUCache[str, bytes] = LRUCache(max_memory_bytes, getsizeof=len)
        self._pending: dict[str, Future[bytes]] = {}
        self._computing = threading.Semaphore(max_parallel)

    def get(self, key: str, compute: Callable[[], Embedding]) -> bytes:
        """The packed embedding of a key, computed where there is none.

        Threads that ask for the same key meanwhile share one computation, and its error; the next call tries again.
        Raises InputError for a key that cache_key does not make, and whatever compute raises.
        """
        _check(key)
        with self._lock:
            held = self._memory.get(key)
            waited = self._pending.get(key)
            if held is None and waited is None:
                self._pending[key] = mine = Future[bytes]()
        if held is not None:
            self._touch(key)
            return held
        if waited is not None:
            return waited.result()
        return self._settle(key, compute, mine)

    def keeps(self, key: str) -> bool:
        """Whether the folder has a key's embedding, whole; this counts as use."""
        _check(key)
        return self._read(key) is not None

    def _settle(self, key: str, compute: Callable[[], Embedding], future: Future[bytes]) -> bytes:
        """Read or compute, remember, and let those who wait go on."""
        try:
            packed = self._read(key)
            if packed is None:
                with self._computing:
                    packed = pack_embedding(compute())
                self._write(key, packed)
        except BaseException as error:
            with self._lock:
                del self._pending[key]
            future.set_exception(error)
            raise
        with self._lock:
            if len(packed) <= self._memory.maxsize:
                self._memory[key] = packed
            del self._pending[key]
        future.set_result(packed)
        return packed

    def _read(self, key: str) -> bytes | None:
        """The file's content, None where it is missing or damaged."""
        if self._folder is None:
            return None
        try:
            packed = (self._folder / key).read_bytes()
            unpack_embedding(packed)
        except (OSError, InputError):
            return None
        self._touch(key)
        return packed

    def _touch(self, key: str) -> None:
        """Note that a file was used, for those that clear up."""
        if self._folder is not None:
            with suppress(OSError):
                os.utime(self._folder / key)

    def _write(self, key: str, packed: bytes) -> None:
        """Put a file into the folder, whole or not at all; a full disk is no fault of who asked."""
        if self._folder is None or len(packed) > self._max_disk_bytes:
            return
        with self._disk_lock, suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(len(packed))
            number, name = tempfile.mkstemp(prefix=_PARTIAL_PREFIX, dir=self._folder)
            try:
                with os.fdopen(number, "wb") as stream:
                    stream.write(packed)
                os.replace(name, self._folder / key)
            except BaseException:
                with suppress(OSError):
                    Path(name).unlink()
                raise

    def _make_room(self, num_bytes: int) -> None:
        """Remove the files not used for longest until so many bytes fit below the bound."""
        assert self._folder is not None
        files = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                # Of what else may lie there nothing is removed.
                if _KEY.fullmatch(entry.name) or entry.name.startswith(_PARTIAL_PREFIX):
                    with suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        files.append((status.st_mtime_ns, status.st_size, entry.path))
        excess = sum(size for _, size, _ in files) + num_bytes - self._max_disk_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                return
            with suppress(OSError):
                Path(path).unlink()
                excess -= size


def image_id(content: bytes) -> str:
    """What an image is called by: 32 hexadecimal digits that depend on the file's bytes alone."""
    return hashlib.sha256(content).hexdigest()[:_ID_DIGITS]


def cache_key(identity: str, image_id: str, region: tuple[int, int, int, int] | None = None) -> str:
    """The key of an image's embedding by the weights of that identity; region: x0, y0, x1, y1 in pixels, ends exclusive."""
    key = f"{identity}-{image_id}"
    return key if region is None else f"{key}-{'_'.join(map(str, region))}"


def default_folder() -> Path:
    """Where embeddings are kept unless a folder is named: `embeddings` in the folder of segloop's downloads."""
    return cache_folder() / "embeddings"


def _check(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise InputError(f"{key!r} is no key of an embedding: make one with cache_key")
