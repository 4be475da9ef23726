"""Everything in an image as a job whose progress is told and which stops when nobody listens any more."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from segloop.errors import InputError

_log = logging.getLogger(__name__)

Report = Callable[[int, int], None]
Result = TypeVar("Result")


class BusyError(Exception):
    """As many jobs as may be run already, or one for this image; the message says which."""


class _StoppedError(Exception):
    """Nobody waits for this any more."""


@dataclass(frozen=True)
class _End(Generic[Result]):
    """A job's result, or why there is none."""

    result: tuple[Result, ...]
    error: Exception | None = None


class Job(Generic[Result]):
    """One job's progress and its end, to be read on the event loop that started it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[tuple[int, int] | _End[Result]] = asyncio.Queue()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the work at its next report."""
        self._stopped.set()

    async def follow(self) -> AsyncIterator[tuple[int, int] | Result]:
        """How much is done of how much, again and again, and at last the result; raises what the work raised."""
        while not isinstance(news := await self._news.get(), _End):
            yield news
        if news.error is not None:
            raise news.error
        for result in news.result:
            yield result

    def run(self, work: Callable[[Report], Result]) -> None:
        """Do the work, in a thread."""
        try:
            self._tell(_End((work(self._report),)))
        except _StoppedError:
            pass
        except Exception as error:
            if not isinstance(error, InputError):
                _log.exception("looking for everything in an image failed")
            self._tell(_End((), error))

    def _report(self, done: int, total: int) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        self._tell((done, total))

    def _tell(self, news: tuple[int, int] | _End[Result]) -> None:
        with suppress(RuntimeError):  # the loop has closed, so nobody listens
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)


class Jobs:
    """At most so many jobs at once, one for each image."""

    def __init__(self, max_jobs: int) -> None:
        self._max_jobs = max_jobs
        self._lock = threading.Lock()
        self._running: dict[str, Job[Any]] = {}
        self._pool = ThreadPoolExecutor(max_jobs, "everything")

    def __len__(self) -> int:
        return len(self._running)

    def start(self, key: str, work: Callable[[Report], Result]) -> Job[Result]:
        """Begin a job on this event loop; BusyError where it must not begin."""
        with self._lock:
            if key in self._running:
                raise BusyError(
                    "everything in this image is being looked for already; wait for its end"
                )
            if len(self._running) >= self._max_jobs:
                raise BusyError("as many images as the server takes are being worked on; try again")
            job: Job[Result] = Job()
            self._running[key] = job
        future = self._pool.submit(job.run, work)
        future.add_done_callback(lambda _: self._forget(key))
        return job

    def close(self) -> None:
        """Stop all jobs."""
        with self._lock:
            for job in self._running.values():
                job.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._running.pop(key, None)
