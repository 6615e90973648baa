"""saq: coroutines of one process."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from saq import Queue

from bench.peer import job

URL = os.environ[job.URL]
queue = Queue.from_url(URL)


async def note(context: Any) -> None:
    job.run()


settings = {"queue": queue, "functions": [note], "concurrency": int(os.environ.get(job.THREADS, "1"))}


def send(count: int, pause: float) -> list[float]:
    async def sending() -> list[float]:
        own = Queue.from_url(URL)
        await own.connect()
        try:
            return await job.each_awaited(lambda: own.enqueue("note"), count, pause)
        finally:
            await own.disconnect()

    return asyncio.run(sending())


def command(threads: int) -> list[str]:
    return job.script("saq", f"{__name__}.settings", "--quiet")
