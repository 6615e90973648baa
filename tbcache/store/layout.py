"""The layout of what is in Redis: which keys there are, and what stands in them.

Processes of two layouts would read each other's keys wrongly, so those of one alone use a
Redis. The first that comes writes down which, and every heartbeat keeps it. A process of an
earlier layout leaves that Redis alone. One of a later layout takes it over once no process of an
earlier one lives, and can read what they left.

1  tbcache 0.1.0, which does not write it down
2  a claim in the queue has the name of one hand-out of a job, not that of the job
3  the lanes of a queue are sorted sets; the first script that meets a list of before makes it one
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import redis

from tbcache.io import now, utc_now
from tbcache.models.untrusted import NotJson, printable, read_json
from tbcache.models.version import __version__
from tbcache.store.fault import is_of_call
from tbcache.store.key import Keys
from tbcache.store.reply import record
from tbcache.store.script import Key, Script
from tbcache.store.wire import MICROS

LAYOUT = 3
#: The record of the layout stays as long as any data of that layout may.
TTL_MS = 31 * 86_400_000
#: A process is alive that was heard within so many seconds.
ALIVE_SECONDS = 10.0
#: By how much the clock of another machine may be ahead. A heartbeat that is later is damaged.
_MOST_AHEAD_SECONDS = 3600.0
_NAME_LENGTH = 30

#: Sends one command and gives the answer.
Call = Callable[..., Awaitable[Any]]


class OtherLayout(redis.ResponseError):
    """What is in Redis is not for this process to use; the text says who uses it."""


class Agree(NamedTuple):
    """Which layout is in force; with ``takes_over``, also where Redis has an earlier one, or none."""

    layout: Key
    ours: int
    version: str
    ttl_ms: int
    takes_over: bool


class Layout(NamedTuple):
    """The layout in force (0: none), the version of tbcache that wrote it, and the server's time."""

    number: int
    version: bytes
    seconds: int
    micros: int


AGREE = Script("layout", Agree, record(Layout))


class ServerTime(NamedTuple):
    """What a server told of its clock (us) when it was asked at ``asked_at`` (monotonic)."""

    now_us: int
    asked_at: float


class _Mark(msgspec.Struct, frozen=True):
    """What a heartbeat says of this; one of 0.1.0 says nothing of it."""

    beat_at: datetime
    version: str = "0.1.0"
    layout: int = 1


async def agree(call: Call, keys: Keys) -> ServerTime:
    """Make sure that what is in Redis is, and stays, of this process's layout. Gives the server's time too.

    Raises:
      OtherLayout: it is of another, whose processes live or which this one cannot read.
    """
    layout, version, server_time = await _claim(call, keys, takes_over=False)
    if layout < LAYOUT:
        await _find_older(call, keys)
        layout, version, server_time = await _claim(call, keys, takes_over=True)
    if layout != LAYOUT:
        raise OtherLayout(f"Redis holds the layout of tbcache {version} (layout {layout}); {_ours()}")
    return server_time


async def _claim(call: Call, keys: Keys, *, takes_over: bool) -> tuple[int, str, ServerTime]:
    """The layout in force, the version of tbcache that wrote it, and the server's time."""
    ask, asked_at = Agree(keys.layout, LAYOUT, __version__, TTL_MS, takes_over), now()
    found = AGREE.read(await call("EVAL", AGREE.text, *AGREE.pack(ask)))
    server_time = ServerTime(found.seconds * MICROS + found.micros, asked_at)
    return found.number, printable(found.version, _NAME_LENGTH), server_time


async def _find_older(call: Call, keys: Keys) -> None:
    fields = iter(await _heartbeats(call, keys))
    for name, data in zip(fields, fields, strict=True):
        mark = _read(data)
        if mark is not None and mark.layout < LAYOUT:
            who, version = printable(name, _NAME_LENGTH), printable(mark.version, _NAME_LENGTH)
            raise OtherLayout(f"{who} of tbcache {version} (layout {mark.layout}) uses Redis; {_ours()}")


async def _heartbeats(call: Call, keys: Keys) -> list[bytes]:
    try:
        found: list[bytes] = await call("HGETALL", keys.workers)
    except redis.ResponseError as error:
        if not is_of_call(error, is_script=False):
            raise
        # A key of another type says nothing.
        return []
    return found


def _read(data: bytes) -> _Mark | None:
    """A heartbeat; None where it is damaged, or of a process that is dead."""
    try:
        mark = read_json(data, _Mark)
        age = (utc_now() - mark.beat_at).total_seconds()
    except (NotJson, TypeError, OverflowError):
        return None
    return mark if -_MOST_AHEAD_SECONDS < age < ALIVE_SECONDS else None


def _ours() -> str:
    return f"this is tbcache {__version__} (layout {LAYOUT})"
