"""celery: worker processes, its default, and no results."""

from __future__ import annotations

import os

from celery import Celery

from bench.peer import job

app = Celery("bench", broker=os.environ[job.URL])
app.conf.task_ignore_result = True
note = app.task(name="note")(job.run)


def send(count: int, pause: float) -> list[float]:
    return job.each(note.delay, count, pause)


def command(threads: int) -> list[str]:
    return job.script("celery", "-A", __name__, "worker", "--loglevel", "ERROR", "--concurrency", threads)
