"""What this process has loaded while Redis was away from it, and offers to it once it is back."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import tbcache.io as io
from tbcache.admission.ending import TIMELINE_SECONDS
from tbcache.admission.script import CHANGED, MERGE, PUT_BACK, PutBack, StoreMerged, fetch_queue
from tbcache.admission.verdict import Ask, Merge, Merged
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.clear import read_log
from tbcache.store.clock import Jump
from tbcache.store.envelope import (
    CLOCK_SLACK_SECONDS,
    birth_of,
    fresh_until,
    is_credible,
    stamps_of,
    value_of,
)
from tbcache.store.key import EVERYTHING
from tbcache.store.memory import Bought, Loaded, Memory
from tbcache.store.wire import CLOCK_DRIFT, MICROS, to_micros

#: What is larger is loaded again: a call of that size may take longer than a call may.
MOST_BYTES = 128 * 1024
#: To a larger timeline nothing is added, as an ask has to wait for that. It comes cut, so that it is none.
MOST_TIMELINE_BYTES = 512 * 1024
#: So often something is added to a timeline that others change at the same time, or as Redis goes away again.
TRIES = 3


class _Fence(NamedTuple):
    """The server's time (us) between which an offer expects to be heard, and when its load began at the
    earliest: nothing is stored that may have been removed since.
    """

    asked_us: int
    deadline_us: int
    began_us: int


class Stock:
    """Each value is offered once, and what was bought of each timeline a few times where that was in vain, by
    the first ask for it, on the way of that ask: nothing is put back in the background, and nothing waits for
    it. Whatever becomes of it, it is at worst loaded again.
    """

    def __init__(self, store: Store, memory: Memory) -> None:
        self._store = store
        self._memory = memory
        store.clock.on_jump(self._before_jump, self._after_jump)

    async def offer(self, source: str, key: str) -> None:
        """Put what this process has for ``key`` into Redis, where nothing newer is there: a value of a
        function, which says when it was loaded.

        Raises:
          Unavailable: Redis is away again.
        """
        if not self._store.is_available or (due := self._memory.due(key)) is None:
            return
        try:
            # In a cluster the log of all clears lies elsewhere.
            if len(due.payload) <= MOST_BYTES and not self._store.settings.redis_cluster:
                with suppress(Refused):
                    await self._put_back(source, key, due)
        finally:
            self._memory.done(key, due)

    async def look(self, ask: Ask) -> Merge | None:
        """What this process has bought of the timeline of ``ask``, and is to add to what Redis has of it.

        Raises:
          Unavailable: Redis is away again.
        """
        key = ask.timeline_key
        if not self._store.is_available or (bought := self._memory.bought(key)) is None:
            return None
        merge, is_again = None, False
        try:
            if not self._store.settings.redis_cluster:
                with suppress(Refused):
                    merge = await self._read(ask.source.name, key, bought)
        except Unavailable:
            is_again = True
            raise
        finally:
            if merge is None:
                self._offered(key, bought, is_again=is_again)
        return merge

    async def store(self, ask: Ask, merge: Merge, merged: Merged | None) -> None:
        """Store ``merged`` for all, where what it was made of is still there; None: nothing is to be stored.

        Raises:
          Unavailable: Redis is away again.
        """
        is_again = False
        try:
            if merged is not None:
                with suppress(Refused):
                    is_again = await self._store_merged(ask, merge, merged) == CHANGED
        except Unavailable:
            # Where it was stored and the answer was lost, nothing is left to add the next time.
            is_again = True
            raise
        finally:
            self._offered(ask.timeline_key, merge.bought, is_again=is_again)

    def _offered(self, key: str, bought: Bought, *, is_again: bool) -> None:
        self._memory.offered(key, bought, is_again=is_again and bought.tries < TRIES - 1)

    async def _put_back(self, name: str, key: str, due: Loaded) -> None:
        keys, clock = self._store.keys, self._store.clock
        fence = await self._fence(name, due.began)
        call = PutBack(
            clears=keys.clears(name),
            everything=keys.clears(EVERYTHING),
            deleted=keys.deleted(name),
            entry=keys.entry(key),
            queue=fetch_queue(keys, name),
            **fence._asdict(),
            fresh_us=clock.moment_us(due.fresh_until, name),
            gone_us=clock.moment_us(due.gone_at, name),
            payload=due.payload,
        )
        await self._store.ask(PUT_BACK, call)

    async def _read(self, name: str, key: str, bought: Bought) -> Merge | None:
        keys = self._store.keys
        entry, cleared = await self._store.pipeline(
            ("GETRANGE", keys.entry(key), 0, MOST_TIMELINE_BYTES), ("GET", keys.clears(name))
        )
        if not isinstance(entry, bytes):
            return None
        log = read_log(cleared)
        timeline = value_of(entry) if entry and not log.hides(key, birth_of(entry)) else None
        # Alone, a part would be taken for all that there is.
        if timeline is None and not bought.is_whole:
            return None
        return Merge(bought, timeline, stamps_of(entry), log.sequence)

    async def _store_merged(self, ask: Ask, merge: Merge, merged: Merged) -> int:
        source, keys, clock = ask.source, self._store.keys, self._store.clock
        fence = await self._fence(source.name, merge.bought.began)
        fresh_us = clock.moment_us(merge.bought.fresh_until, source.name)
        if merged.read_at.timestamp() * MICROS > self._latest_us(source.name, merge.bought.ended):
            # It was read by another clock than this server's, which was ahead of it.
            return 0
        if is_credible(until := fresh_until(merge.head), fence.deadline_us, source.cache_ttl):
            # Another moment than before: by that others see that it is another timeline.
            fresh_us = max(fresh_us, until + 1)
        call = StoreMerged(
            clears=keys.clears(source.name),
            everything=keys.clears(EVERYTHING),
            deleted=keys.deleted(source.name),
            timeline=keys.entry(ask.timeline_key),
            entry=keys.entry(ask.request.key),
            outbox=keys.outbox(source.name),
            queue=fetch_queue(keys, source.name),
            others=tuple(map(keys.entry, ask.others(merged.hours))),
            **fence._asdict(),
            cleared=merge.cleared,
            head=merge.head,
            fresh_us=fresh_us,
            timeline_us=to_micros(TIMELINE_SECONDS),
            stale_us=to_micros(source.stale_ttl),
            payload=merged.timeline,
            value=merged.payload,
            answer=merged.answer,
        )
        return await self._store.ask(MERGE, call)

    def _latest_us(self, name: str, moment: float) -> float:
        """The server's time (us) at that moment, at the latest."""
        slack = CLOCK_SLACK_SECONDS + 2 * CLOCK_DRIFT * (io.now() - moment)
        return self._store.clock.moment_us(moment, name) + slack * MICROS

    async def _fence(self, name: str, began: float) -> _Fence:
        clock = self._store.clock
        deadline_us = await clock.deadline_us(name)
        # The server's clock may have been set by so much unseen.
        began_us = clock.moment_us(began - clock.timeout, name)
        return _Fence(clock.moment_us(io.now(), name), deadline_us, began_us)

    async def _before_jump(self, source: str, jump: Jump) -> bool:
        # Nobody knows whether a load began before a deletion.
        self._memory.forget_due()
        return True

    async def _after_jump(self, source: str) -> None:
        return
