"""dramatiq on its RedisBroker, with the middleware that it comes with."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peer import job

dramatiq.set_broker(RedisBroker(url=os.environ[job.URL]))
note = dramatiq.actor(job.run)


def send(count: int, pause: float) -> list[float]:
    return job.each(note.send, count, pause)


def command(threads: int) -> list[str]:
    return job.script("dramatiq", __name__, "--processes", 1, "--threads", threads)
