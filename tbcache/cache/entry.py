"""Entries in Redis, each read together with the log of clears that may hide it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import redis

from tbcache.cache.script import DROP, Drop
from tbcache.store import Store, codec, envelope
from tbcache.store.clear import NO_CLEARS, ClearLog, read_log
from tbcache.store.codec import DecodeError
from tbcache.store.constant import REMEMBERED_SECONDS
from tbcache.store.key import head_of, timeline_of
from tbcache.store.memory import MISSING
from tbcache.store.script import Argument
from tbcache.store.wire import MICROS


class Opened(NamedTuple):
    """What an entry holds; ``fresh_seconds`` is how long the value is fresh."""

    value: Any
    payload: bytes
    fresh_seconds: float


#: A server that is full refuses this, and nothing else: who removes something makes room.
_MARKS = "for _, key in ipairs(KEYS) do redis.pcall('SET', key, '', 'PX', ARGV[1]) end"

NOTHING = Opened(MISSING, b"", 0.0)


class Entries:
    """The entries of a cache, and the logs of clears as they were last seen.

    Every method raises Unavailable when Redis is away, and DecodeError when an entry is corrupt.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.logs: dict[str, ClearLog] = {}

    async def get(self, key: str) -> Opened:
        """What is fresh under ``key``; :data:`NOTHING` where nothing is."""
        return await self._open(key, *await self._get(key))

    async def get_with_ttl(self, key: str) -> tuple[Opened, int]:
        """:meth:`get`, and for how many milliseconds more the entry is in Redis."""
        entry, name = self.store.keys.entry(key), self.store.keys.clears_of(key)
        data, ttl_ms, cleared = await self.store.pipeline(("GET", entry), ("PTTL", entry), ("GET", name))
        found = await self._open(key, self._reply(data), self._learn(name, cleared))
        return found, 0 if found is NOTHING else self._reply(ttl_ms)

    async def _get(self, key: str) -> tuple[bytes | None, ClearLog]:
        """An entry, and the log that may hide it."""
        keys = self.store.keys
        entry, name = keys.entry(key), keys.clears_of(key)
        if self.store.settings.redis_cluster:
            # They may lie on two nodes.
            data, cleared = await self.store.pipeline(("GET", entry), ("GET", name))
            return self._reply(data), self._learn(name, cleared)
        data, cleared = await self.store.command("MGET", entry, name)
        if data is None:
            # There is nothing, or a key of another type.
            (data,) = await self.store.pipeline(("GET", entry))
        return self._reply(data), self._learn(name, cleared)

    async def _open(self, key: str, data: bytes | None, known: ClearLog) -> Opened:
        """What an entry holds; :data:`NOTHING` when there is none, it is no longer fresh, or cleared.

        Raises:
          DecodeError: it is corrupt.
        """
        if data is None:
            return NOTHING
        fresh_until, birth, payload = envelope.open_envelope(data)
        # An entry that is fresh as long as its key lives is the usual one: the hot path.
        fresh_seconds = math.inf if fresh_until >= envelope.FOREVER else await self._left(key, fresh_until)
        if fresh_seconds <= 0 or (known.clears and known.hides(key, birth)):
            return NOTHING
        return Opened(codec.decode(payload), payload, fresh_seconds)

    async def seconds_left(self, key: str) -> float | None:
        """For how many seconds more the value under ``key`` is fresh; None where there is none."""
        entry, name = self.store.keys.entry(key), self.store.keys.clears_of(key)
        data, ttl_ms, cleared = await self.store.pipeline(
            ("GETRANGE", entry, 0, envelope.HEAD_BYTES - 1), ("PTTL", entry), ("GET", name)
        )
        try:
            fresh_until, birth = envelope.read_head(self._reply(data))
        except DecodeError:
            return None
        if self._learn(name, cleared).hides(key, birth):
            return None
        left: float = min(self._reply(ttl_ms) / 1000, await self._left(key, fresh_until))
        return left if left > 0 else None

    async def _left(self, key: str, fresh_until: int) -> float:
        """For how many seconds more an entry is fresh."""
        if fresh_until >= envelope.FOREVER:
            return math.inf
        # The server wrote the moment by its clock; ours may be an hour off.
        return (fresh_until - await self.store.clock.now_us(head_of(key))) / MICROS

    async def write(self, key: str, payload: bytes, seconds: float) -> bool:
        """Set an entry, newer than every clear until now."""
        known = self.known(key)
        while True:
            is_set, seen = await self._set(key, payload, seconds, known)
            # The log is mostly as it was. Where it is not, the entry is written again with a later birth.
            if seen.head == known.head:
                return is_set
            known = seen

    async def _set(self, key: str, payload: bytes, seconds: float, known: ClearLog) -> tuple[bool, ClearLog]:
        """Set an entry, born of the log that is known; and the log as it is after that.

        Its lease goes first: without it, an answer under way is not stored, which would be older.
        """
        keys, name = self.store.keys, self.store.keys.clears_of(key)
        entry = envelope.seal(payload, birth=known.sequence)
        ended, is_set, cleared = await self.store.pipeline(
            ("UNLINK", keys.lease(key)),
            ("SET", keys.entry(key), entry, "PX", to_ms(seconds)),
            ("GET", name),
        )
        self._reply(ended)
        return bool(self._reply(is_set)), self._learn(name, cleared)

    def known(self, key: str) -> ClearLog:
        """The log that may hide ``key``, as it was last seen."""
        return self.logs.get(self.store.keys.clears_of(key), NO_CLEARS)

    def _learn(self, name: str, cleared: Any) -> ClearLog:
        known = self.logs[name] = read_log(cleared)
        return known

    async def remove(self, keys: Sequence[str]) -> int:
        """Remove entries; how many there were.

        Their leases go first: without its lease, an answer under way is not stored. With an answer goes the
        timeline that it was made of, or the next ask would be answered by the same.
        """
        names = self.store.keys
        timelines = sorted({one for key in keys if (one := timeline_of(key)) is not None})
        first = [*map(names.lease, (*keys, *timelines)), *map(names.entry, timelines)]
        asks: list[tuple[Argument, ...]] = [("UNLINK", *first), ("UNLINK", *map(names.entry, keys))]
        fetches = sorted(key for key in keys if ":" in key)
        parts = [fetches]
        if self.store.settings.redis_cluster:
            parts = [list(some) for _, some in itertools.groupby(fetches, head_of)]
        elif fetches:
            # From here on nobody puts back what was loaded before (put_back.lua; in a cluster nobody does).
            deleted = [names.deleted(head) for head in dict.fromkeys(map(head_of, fetches))]
            asks.insert(0, ("EVAL", _MARKS, len(deleted), *deleted, to_ms(REMEMBERED_SECONDS)))
        at = len(asks)
        # After the rest, as a load that begins in between is not stored either.
        asks += [("EVAL", DROP.text, *DROP.pack(self._drop(some))) for some in parts if some]
        others, entries = (await self.store.pipeline(*asks))[at - 2 : at]
        self._reply(others)
        return int(self._reply(entries))

    def _drop(self, keys: Sequence[str]) -> Drop:
        pendings = (self.store.keys.queue(head_of(key), "pending") for key in keys)
        return Drop(tuple(pendings), tuple(keys))

    def _reply(self, reply: Any) -> Any:
        """A reply, when it is no error.

        Raises:
          DecodeError: the entry is of another Redis type.
          Refused: any other error.
        """
        if not isinstance(reply, redis.ResponseError):
            return reply
        if "WRONGTYPE" in str(reply):
            raise DecodeError("no string but another Redis type")
        raise self.store.refused(reply)


def to_ms(seconds: float) -> int:
    """Whole milliseconds, and never 0 of a span that is not."""
    return math.ceil(seconds * 1000)
