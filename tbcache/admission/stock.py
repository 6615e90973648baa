"""What this process has loaded while Redis was away from it, and offers to it once it is back."""

from __future__ import annotations

from contextlib import suppress

import tbcache.io as io
from tbcache.admission.script import PUT_BACK, PutBack
from tbcache.store import Refused, Store
from tbcache.store.clock import Jump
from tbcache.store.key import EVERYTHING
from tbcache.store.memory import Loaded, Memory

#: What is larger is loaded again: a call of that size may take longer than a call may.
MOST_BYTES = 128 * 1024


class Stock:
    """Each value is offered once, by the first ask for it, on the way of that ask: nothing is put back in the
    background, and nothing waits for it. Whatever becomes of it, the value is at worst loaded again.
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

    async def _put_back(self, name: str, key: str, due: Loaded) -> None:
        keys, clock = self._store.keys, self._store.clock
        deadline_us = await clock.deadline_us(name)
        call = PutBack(
            clears=keys.clears(name),
            everything=keys.clears(EVERYTHING),
            deleted=keys.deleted(name),
            entry=keys.entry(key),
            asked_us=clock.moment_us(io.now(), name),
            deadline_us=deadline_us,
            # The server's clock may have been set by so much unseen.
            began_us=clock.moment_us(due.began - clock.timeout, name),
            fresh_us=clock.moment_us(due.fresh_until, name),
            gone_us=clock.moment_us(due.gone_at, name),
            payload=due.payload,
        )
        await self._store.ask(PUT_BACK, call)

    async def _before_jump(self, source: str, jump: Jump) -> bool:
        # Nobody knows whether a load began before a deletion.
        self._memory.forget_due()
        return True

    async def _after_jump(self, source: str) -> None:
        return
