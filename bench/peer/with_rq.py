"""rq: a process for each job, its default; a pool of workers where several run at once."""

from __future__ import annotations

import os

import redis
from rq import Queue

from bench.peer import job

URL = os.environ[job.URL]
queue = Queue("bench", connection=redis.Redis.from_url(URL))


def send(count: int, pause: float) -> list[float]:
    return job.each(lambda: queue.enqueue(job.run), count, pause)


def command(threads: int) -> list[str]:
    if threads == 1:
        return job.script("rq", "worker", "bench", "--url", URL, "--quiet")
    return job.script("rq", "worker-pool", "bench", "--url", URL, "--quiet", "--num-workers", threads)
