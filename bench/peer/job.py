"""The job of all peers, and how they queue it. A job says that it has run in a file that all append to: Redis
is not asked for that.
"""

from __future__ import annotations

import asyncio
import functools
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

#: The database, the file, and how many jobs run at once, for the worker of a peer.
URL, NOTES, THREADS = "REDIS_URL", "BENCH_NOTES", "BENCH_THREADS"
_MOMENT = struct.Struct("<d")


def run() -> None:
    """Do nothing, and note when."""
    os.write(_file(os.getpid()), _MOMENT.pack(time.monotonic()))


@functools.cache
def _file(pid: int) -> int:
    return os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND)


def moments(path: Path) -> list[float]:
    """When jobs ran (monotonic seconds)."""
    return [moment for (moment,) in _MOMENT.iter_unpack(path.read_bytes())]


def each(send: Callable[[], object], count: int, pause: float) -> list[float]:
    """Queue so many jobs by ``send``, with pauses of so many seconds."""
    begun = []
    for _ in range(count):
        begun.append(time.monotonic())
        send()
        # A sleep of 0 s takes as long as it takes another process to yield: it would be part of each send.
        if pause:
            time.sleep(pause)
    return begun


async def each_awaited(send: Callable[[], Awaitable[object]], count: int, pause: float) -> list[float]:
    """:func:`each`, where queueing is awaited."""
    begun = []
    for _ in range(count):
        begun.append(time.monotonic())
        await send()
        if pause:
            await asyncio.sleep(pause)
    return begun


def script(name: str, *arguments: object) -> list[str]:
    """A command of this environment."""
    return [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
