"""huey: worker threads, its default, and no results."""

from __future__ import annotations

import os

from huey import RedisHuey

from bench.peer import job

huey = RedisHuey("bench", url=os.environ[job.URL], results=False)
note = huey.task(name="note")(job.run)


def send(count: int, pause: float) -> list[float]:
    return job.each(note, count, pause)


def command(threads: int) -> list[str]:
    return job.script("huey_consumer", f"{__name__}.huey", "-w", threads, "-k", "thread", "-q")
