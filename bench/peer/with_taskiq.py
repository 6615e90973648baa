"""taskiq: coroutines of one process, on Redis streams, which acknowledge; no results."""

from __future__ import annotations

import asyncio
import os

from taskiq_redis import RedisStreamBroker

from bench.peer import job

broker = RedisStreamBroker(url=os.environ[job.URL])


@broker.task(task_name="note")
async def note() -> None:
    job.run()


def send(count: int, pause: float) -> list[float]:
    async def sending() -> list[float]:
        await broker.startup()
        try:
            return await job.each_awaited(note.kiq, count, pause)
        finally:
            await broker.shutdown()

    return asyncio.run(sending())


def command(threads: int) -> list[str]:
    options = ("--workers", 1, "--max-async-tasks", threads, "--log-level", "ERROR")
    return job.script("taskiq", "worker", f"{__name__}:broker", *options)
