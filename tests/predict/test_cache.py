"""The cache of packed embeddings: once computed, found again; bounds, damage, full disks and many threads."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from segloop.backends.base import Embedding
from segloop.data.caches import cache_folder
from segloop.errors import InputError
from segloop.geometry.frames import Frame
from segloop.predict.cache import EmbeddingCache, cache_key, default_folder, image_id
from segloop.predict.wire import pack_embedding

AMPLE = 1 << 20
IDENTITY = "0123456789abcdef"
WAIT_SECONDS = 20


def embedding_of(number: int) -> Embedding:
    features = np.full((4, 8, 8), number + 1, dtype=np.float32)
    return Embedding(features, Frame((30, 40), 64, 32), IDENTITY)


def key_of(number: int) -> str:
    return cache_key(IDENTITY, image_id(bytes([number])))


SIZE = len(pack_embedding(embedding_of(0)))


class Counting:
    """Computes embeddings and remembers of which numbers."""

    def __init__(self) -> None:
        self.computed: list[int] = []

    def __call__(self, number: int) -> Callable[[], Embedding]:
        def compute() -> Embedding:
            self.computed.append(number)
            return embedding_of(number)

        return compute


def open_cache(folder: Path | None, **bounds: int) -> EmbeddingCache:
    return EmbeddingCache(folder, **{"max_memory_bytes": AMPLE, "max_disk_bytes": AMPLE, **bounds})


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def age(folder: Path, number: int, seconds: int) -> None:
    """Let a file's last use lie so far back."""
    path = folder / key_of(number)
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_an_image_is_known_by_its_bytes() -> None:
    assert image_id(b"photo") == hashlib.sha256(b"photo").hexdigest()[:32]
    assert image_id(b"photo") != image_id(b"photo ")


def test_keys_tell_weights_images_and_regions_apart() -> None:
    assert cache_key("ab", "cd") == "ab-cd"
    assert cache_key("ab", "cd", (1, 2, 30, 40)) == "ab-cd-1_2_30_40"


def test_the_default_folder_is_beside_the_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_folder() == cache_folder() / "embeddings"
    monkeypatch.setenv("SEGLOOP_CACHE", "elsewhere")
    assert default_folder() == Path("elsewhere", "embeddings")


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_was_computed_is_not_computed_again(tmp_path: Path, on_disk: bool) -> None:
    compute = Counting()
    cache = open_cache(tmp_path if on_disk else None)
    first, second = (cache.get(key_of(1), compute(1)) for _ in range(2))
    assert first == second == pack_embedding(embedding_of(1))
    assert compute.computed == [1]
    assert names_in(tmp_path) == ({key_of(1)} if on_disk else set())


def test_another_process_finds_it_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "when needed"
    open_cache(folder).get(key_of(1), Counting()(1))
    compute = Counting()
    other = open_cache(folder)
    assert other.keeps(key_of(1))
    assert not other.keeps(key_of(2))
    assert other.get(key_of(1), compute(1)) == pack_embedding(embedding_of(1))
    assert compute.computed == []


def test_memory_holds_no_more_than_allowed(tmp_path: Path) -> None:
    compute = Counting()
    cache = open_cache(None, max_memory_bytes=2 * SIZE)
    for number in (1, 2, 1, 3, 1, 2):  # 2 is the one not used for longest when 3 comes
        cache.get(key_of(number), compute(number))
    assert compute.computed == [1, 2, 3, 2]


def test_what_is_larger_than_all_memory_is_still_given() -> None:
    compute = Counting()
    cache = open_cache(None, max_memory_bytes=SIZE - 1)
    assert cache.get(key_of(1), compute(1)) == cache.get(key_of(1), compute(1))
    assert compute.computed == [1, 1]


def test_the_disk_loses_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = open_cache(tmp_path, max_disk_bytes=3 * SIZE)
    (tmp_path / "notes.txt").write_text("not ours")
    for number in (1, 2, 3):
        cache.get(key_of(number), Counting()(number))
        age(tmp_path, number, 100 - number)
    cache.get(key_of(1), Counting()(1))  # from memory, and it counts as use
    cache.get(key_of(4), Counting()(4))
    assert names_in(tmp_path) == {key_of(3), key_of(1), key_of(4), "notes.txt"}


def test_use_from_disk_counts_too(tmp_path: Path) -> None:
    cache = open_cache(tmp_path, max_disk_bytes=2 * SIZE)
    for number in (1, 2):
        cache.get(key_of(number), Counting()(number))
        age(tmp_path, number, 100 - number)
    other = open_cache(tmp_path, max_disk_bytes=2 * SIZE)
    other.get(key_of(1), Counting()(1))
    other.get(key_of(3), Counting()(3))
    assert names_in(tmp_path) == {key_of(1), key_of(3)}


def test_what_an_interrupted_process_left_goes_in_its_turn(tmp_path: Path) -> None:
    left = tmp_path / "partial.abc"
    left.write_bytes(bytes(2 * SIZE))
    os.utime(left, (0, 0))
    cache = open_cache(tmp_path, max_disk_bytes=2 * SIZE)
    cache.get(key_of(1), Counting()(1))
    assert names_in(tmp_path) == {key_of(1)}


def test_a_disk_bound_below_one_embedding_keeps_none(tmp_path: Path) -> None:
    cache = open_cache(tmp_path, max_disk_bytes=SIZE - 1)
    cache.get(key_of(1), Counting()(1))
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("damage", [b"", b"SGE1", b"x" * 5000])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / key_of(1)).write_bytes(damage)
    compute = Counting()
    assert not open_cache(tmp_path).keeps(key_of(1))
    packed = open_cache(tmp_path).get(key_of(1), compute(1))
    assert compute.computed == [1]
    assert (tmp_path / key_of(1)).read_bytes() == packed == pack_embedding(embedding_of(1))


def test_a_folder_that_cannot_be_written_leaves_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    compute = Counting()
    cache = open_cache(tmp_path / "file")
    assert cache.get(key_of(1), compute(1)) == cache.get(key_of(1), compute(1))
    assert compute.computed == [1]


def test_a_full_disk_leaves_memory_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    compute = Counting()
    cache = open_cache(tmp_path)
    assert cache.get(key_of(1), compute(1)) == cache.get(key_of(1), compute(1))
    assert compute.computed == [1]
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    "key", ["", "../ab", "a/b", "a\\b", "A", "-a", "_a", "a.b", "g", "a\n", "a" * 300]
)
def test_only_keys_name_files(tmp_path: Path, key: str) -> None:
    cache = open_cache(tmp_path)
    for ask in (lambda: cache.get(key, Counting()(1)), lambda: cache.keeps(key)):
        with pytest.raises(InputError, match="is no key of an embedding"):
            ask()
    assert names_in(tmp_path) == set()


def test_many_threads_that_ask_for_one_cause_one_computation(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    asked, compute = threading.Barrier(8), Counting()
    go_on = threading.Event()

    def slow() -> Embedding:
        go_on.wait(WAIT_SECONDS)
        return compute(1)()

    def ask() -> bytes:
        asked.wait(WAIT_SECONDS)
        return cache.get(key_of(1), slow)

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask) for _ in range(8)]
        go_on.set()
        assert {answer.result(WAIT_SECONDS) for answer in answers} == {
            pack_embedding(embedding_of(1))
        }
    assert compute.computed == [1]


def test_all_that_wait_get_the_error_and_the_next_call_tries_again(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    asked, started, go_on = threading.Barrier(4), threading.Event(), threading.Event()

    def fail() -> Embedding:
        started.set()
        go_on.wait(WAIT_SECONDS)
        raise InputError("a bad image")

    def ask() -> bytes:
        asked.wait(WAIT_SECONDS)
        return cache.get(key_of(1), fail)

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask) for _ in range(4)]
        assert started.wait(WAIT_SECONDS)
        go_on.set()
        for answer in answers:
            with pytest.raises(InputError, match="a bad image"):
                answer.result(WAIT_SECONDS)
    compute = Counting()
    cache.get(key_of(1), compute(1))
    assert compute.computed == [1]


@pytest.mark.parametrize("max_parallel", [1, 2])
def test_no_more_than_so_many_are_computed_at_once(max_parallel: int) -> None:
    cache = open_cache(None, max_parallel=max_parallel)
    lock, running, most = threading.Lock(), [], []
    together = threading.Barrier(max_parallel)

    def compute() -> Embedding:
        with lock:
            running.append(1)
            most.append(len(running))
        together.wait(WAIT_SECONDS)  # broken, and so an error, unless so many really run
        with lock:
            running.pop()
        return embedding_of(1)

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(cache.get, key_of(number), compute) for number in range(4)]
        for answer in answers:
            answer.result(WAIT_SECONDS)
    assert max(most) == max_parallel


def test_what_is_held_is_given_while_another_is_computed(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    held = cache.get(key_of(1), Counting()(1))
    open_cache(tmp_path).get(key_of(2), Counting()(2))
    started, go_on = threading.Event(), threading.Event()

    def slow() -> Embedding:
        started.set()
        go_on.wait(WAIT_SECONDS)
        return embedding_of(3)

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(cache.get, key_of(3), slow)
        assert started.wait(WAIT_SECONDS)
        assert cache.get(key_of(1), Counting()(1)) == held  # memory
        assert cache.get(key_of(2), Counting()(2)) == pack_embedding(embedding_of(2))  # disk
        assert not answer.done()
        go_on.set()
        answer.result(WAIT_SECONDS)
