"""Embeddings for many clients at once: each is computed once, and whoever waits holds up nobody else.

Requests wait on one shared future for each embedding, not in a thread, so fifty clients that ask for a new image cost one
encoding and leave the threads that serve cached ones free.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from cachetools import LRUCache

from segloop.backends.base import Embedding
from segloop.data.image import load_image
from segloop.errors import InputError
from segloop.geometry.grids import CropBox
from segloop.predict.cache import EmbeddingCache, cache_key
from segloop.predict.predictor import Predictor
from segloop.predict.wire import unpack_embedding
from segloop.server.images import ImageStore, StoredImage
from segloop.server.settings import ServerSettings

LOOKUP_THREADS = 4
# The cache lets so many compute at once, and asking whether it has something counts: none of the lookups may wait there.
MAX_PARALLEL = LOOKUP_THREADS + 1


class _MissingError(Exception):
    """The cache has no such embedding."""


class EmbeddingService:
    """Packed embeddings from the cache, or made now. Thread-safe; needs no event loop of its own."""

    def __init__(
        self,
        predictor: Predictor,
        cache: EmbeddingCache,
        images: ImageStore,
        settings: ServerSettings,
    ) -> None:
        self._predictor = predictor
        self._cache = cache
        self._images = images
        self._ahead: str | None = None
        self._settings = settings
        self._lock = threading.Lock()
        self._pending: dict[str, Future[bytes]] = {}
        self._features: LRUCache[str, Embedding] = LRUCache(
            settings.max_features_bytes, getsizeof=lambda one: one.features.nbytes
        )
        self._lookups = ThreadPoolExecutor(LOOKUP_THREADS, "lookup")
        # One at a time: the backend gives an encoding all the threads it has.
        self._encoder = ThreadPoolExecutor(1, "encode")

    def close(self) -> None:
        """Start nothing more."""
        self._lookups.shutdown(wait=False, cancel_futures=True)
        self._encoder.shutdown(wait=False, cancel_futures=True)

    @property
    def num_pending(self) -> int:
        """Embeddings that are being looked up or made."""
        return len(self._pending)

    def _key(self, image: StoredImage, region: CropBox | None = None) -> str:
        return cache_key(self._predictor.spec.identity, image.id, region)

    async def packed(self, image: StoredImage, region: CropBox | None = None) -> bytes:
        """The embedding of an image, or of a region of it, as it travels.

        Raises InputError for an image that cannot be decoded or a region outside it.
        """
        check_region(region, image.image_hw)
        future = self._start(image, region)
        # Shielded: a client that goes away must not take the embedding from the others.
        packed = await asyncio.shield(asyncio.wrap_future(future))
        if region is None:
            self._embed_ahead(image)
        return packed

    async def embedding(self, image: StoredImage, region: CropBox | None = None) -> Embedding:
        """The embedding to decode here; InputError as for packed.

        The last few are at hand in full precision. Of those before, the packed form serves, which costs a mask next to
        nothing and saves an encoding.
        """
        key = self._key(image, region)
        with self._lock:
            held = self._features.get(key)
        if held is not None:
            return held
        packed = await self.packed(image, region)
        with self._lock:
            held = self._features.get(key)
        return held if held is not None else unpack_embedding(packed)

    def _start(self, image: StoredImage, region: CropBox | None) -> Future[bytes]:
        """The future of an embedding, which is looked up and then made unless that is under way."""
        key = self._key(image, region)
        with self._lock:
            future = self._pending.get(key)
            if future is not None:
                return future
            future = self._pending[key] = Future()
            future.add_done_callback(lambda _: self._forget(key))
        self._run(self._lookups, future, lambda: self._look_up(key, image, region, future))
        return future

    def _look_up(
        self, key: str, image: StoredImage, region: CropBox | None, future: Future[bytes]
    ) -> bytes | None:
        try:
            return self._cache.get(key, _miss)
        except _MissingError:
            self._run(self._encoder, future, lambda: self._make(key, image, region))
            return None

    def _make(self, key: str, image: StoredImage, region: CropBox | None) -> bytes:
        return self._cache.get(key, lambda: self._encode(key, image, region))

    def _encode(self, key: str, image: StoredImage, region: CropBox | None) -> Embedding:
        pixels = load_image(image.read(), self._settings.max_pixels)
        if region is not None:
            x0, y0, x1, y1 = region
            pixels = pixels[y0:y1, x0:x1]
        embedding = self._predictor.encode(
            pixels, max_pixels=self._settings.max_pixels, keep_pixels=False
        )
        with self._lock:
            if embedding.features.nbytes <= self._features.maxsize:
                self._features[key] = embedding
        return embedding

    def _run(
        self,
        pool: ThreadPoolExecutor,
        future: Future[bytes],
        work: Callable[[], bytes | None],
    ) -> None:
        """Do work in a pool and settle the future with its outcome; None leaves it open."""

        def settle() -> None:
            try:
                packed = work()
            except BaseException as error:
                future.set_exception(error)
            else:
                if packed is not None:
                    future.set_result(packed)

        try:
            pool.submit(settle)
        except RuntimeError as error:  # shut down meanwhile
            future.set_exception(error)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._pending.pop(key, None)

    def _embed_ahead(self, image: StoredImage) -> None:
        """Embed the image that follows, where nobody waits for another."""
        following = self._images.after(image.id) if self._settings.prefetch else None
        if following is None or self._key(following) == self._ahead:
            return
        with self._lock:
            if self._pending:
                return
            self._ahead = self._key(following)
        self._start(following, None)


def check_region(region: CropBox | None, image_hw: tuple[int, int]) -> None:
    """Raise InputError unless a region is of at least one pixel and lies in the image."""
    if region is None:
        return
    x0, y0, x1, y1 = region
    height, width = image_hw
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(
            f"region {x0},{y0},{x1},{y1} does not lie in the image of {width} x {height} pixels"
        )


def _miss() -> Embedding:
    raise _MissingError
