"""arq: coroutines of one process."""

from __future__ import annotations

import asyncio
import os
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings

from bench.peer import job

SETTINGS = RedisSettings.from_dsn(os.environ[job.URL])


async def note(context: Any) -> None:
    job.run()


class WorkerSettings:
    functions: ClassVar = [note]
    redis_settings = SETTINGS
    max_jobs = int(os.environ.get(job.THREADS, "1"))


def send(count: int, pause: float) -> list[float]:
    async def sending() -> list[float]:
        pool = await create_pool(SETTINGS)
        try:
            return await job.each_awaited(lambda: pool.enqueue_job("note"), count, pause)
        finally:
            await pool.aclose()

    return asyncio.run(sending())


def command(threads: int) -> list[str]:
    return job.script("arq", f"{__name__}.WorkerSettings")
