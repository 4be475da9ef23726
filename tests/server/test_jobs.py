from __future__ import annotations

import asyncio
import threading

import pytest

from segloop.errors import InputError
from segloop.server.jobs import BusyError, Job, Jobs, Report


async def news_of(job: Job[str]) -> list[tuple[int, int] | str]:
    return [one async for one in job.follow()]


async def until_idle(jobs: Jobs) -> None:
    while len(jobs):
        await asyncio.sleep(0.005)


def test_a_job_tells_of_its_progress_and_its_result() -> None:
    def work(report: Report) -> str:
        report(1, 2)
        report(2, 2)
        return "done"

    async def run() -> None:
        jobs = Jobs(1)
        assert await news_of(jobs.start("a", work)) == [(1, 2), (2, 2), "done"]
        await until_idle(jobs)
        jobs.close()

    asyncio.run(run())


def test_a_jobs_error_reaches_whoever_follows(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: Report) -> str:
        raise InputError("not so")

    def fail(_: Report) -> str:
        raise KeyError("ours")

    async def run() -> None:
        jobs = Jobs(2)
        with pytest.raises(InputError, match="not so"):
            await news_of(jobs.start("a", refuse))
        assert not caplog.records
        with pytest.raises(KeyError, match="ours"):
            await news_of(jobs.start("b", fail))
        assert "ours" in caplog.text
        await until_idle(jobs)
        jobs.close()

    asyncio.run(run())


def test_jobs_are_bounded_and_one_for_each_image() -> None:
    gate = threading.Event()

    def work(_: Report) -> str:
        assert gate.wait(60)
        return "done"

    async def run() -> None:
        jobs = Jobs(2)
        first, second = jobs.start("a", work), jobs.start("b", work)
        with pytest.raises(BusyError):
            jobs.start("c", work)
        gate.set()
        assert await news_of(first) == await news_of(second) == ["done"]
        await until_idle(jobs)
        gate.clear()
        again = jobs.start("a", work)
        with pytest.raises(BusyError, match="this image"):
            jobs.start("a", work)
        gate.set()
        assert await news_of(again) == ["done"]
        jobs.close()

    asyncio.run(run())


def test_a_stopped_job_ends_at_its_next_report() -> None:
    gate = threading.Event()
    reached: list[int] = []

    def work(report: Report) -> str:
        assert gate.wait(60)
        for done in range(5):
            report(done, 5)
            reached.append(done)
        return "done"

    async def run() -> None:
        jobs = Jobs(1)
        jobs.start("a", work).stop()
        gate.set()
        await until_idle(jobs)
        jobs.close()

    asyncio.run(run())
    assert reached == []
