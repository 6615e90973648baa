"""tbcache's broker: an actor that the limits of a source pace, so wide that no job waits for them."""

from __future__ import annotations

import logging

import dramatiq

import tbcache
from bench.peer import job

# No peer is to write a line for each job.
logging.getLogger("tbcache").setLevel(logging.WARNING)
dramatiq.set_broker(tbcache.get_broker())
wide = tbcache.source("wide", limits="1000000/1s")
note = dramatiq.actor(source="wide")(job.run)


def send(count: int, pause: float) -> list[float]:
    return job.each(note.send, count, pause)


def command(threads: int) -> list[str]:
    return job.script("dramatiq", __name__, "--processes", 1, "--threads", threads)
