"""docket: coroutines of one process."""

from __future__ import annotations

import asyncio
import os

from docket import Docket

from bench.peer import job

URL = os.environ[job.URL]


async def note() -> None:
    job.run()


tasks = [note]


def send(count: int, pause: float) -> list[float]:
    async def sending() -> list[float]:
        async with Docket(name="bench", url=URL) as docket:
            return await job.each_awaited(lambda: docket.add(note)(), count, pause)

    return asyncio.run(sending())


def command(threads: int) -> list[str]:
    options = ("--docket", "bench", "--url", URL, "--tasks", f"{__name__}:tasks", "--concurrency", threads)
    return job.script("docket", "worker", *options, "--logging-level", "ERROR")
