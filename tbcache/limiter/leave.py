"""How the share of a process is given back: its own as it leaves, and that of one that is found dead."""

from __future__ import annotations

from collections.abc import Iterable

from tbcache.limiter.ask import Terms
from tbcache.limiter.limiter import limiter_of
from tbcache.limiter.script import LEAVE, Leave
from tbcache.store import Store
from tbcache.store.wire import to_micros

#: How often a process says that it leaves, where it goes on taking slots.
MOST_LEAVES = 3


class Leaving:
    """Tells Redis of processes that have ended."""

    def __init__(self, store: Store) -> None:
        self._store, self._limiter = store, limiter_of(store)
        #: Until when the shares of dead processes are reserved (us), by source, its epoch and process. In
        #: another epoch Redis may know the share again, and not that the process was found dead.
        self._reserved_until: dict[tuple[str, str, str], int] = {}

    async def remove_dead(self, source: str, now_us: int, absent: Iterable[str]) -> None:
        """Give back the shares of those that were processes of this machine and are no more."""
        for member in absent:
            reserved_until = self._reserved_until.get((source, self._limiter.epochs.of(source), member), 0)
            if now_us >= reserved_until and self.is_dead(member):
                await self._leave(
                    source, member, is_clean=self._limiter.windows.machine.marker_of(member).is_clean
                )

    def is_dead(self, member: str) -> bool:
        """True where ``member`` was a process of this machine and has ended."""
        return self._limiter.windows.machine.is_dead(member)

    async def leave(self, source: str) -> None:
        """Give back this process's own share of ``source``, by which it must not go any more: see
        :meth:`ProcessWindow.leave`.
        """
        window = self._limiter.process_window(source)
        for _ in range(MOST_LEAVES):
            granted = window.granted
            await self._leave(
                source, self._limiter.member, is_clean=True, gone_in_us=to_micros(window.gone_in)
            )
            # What another thread took meanwhile is told as well: after a loss nobody else knows of it.
            if window.granted == granted:
                break

    async def _leave(self, source: str, member: str, *, is_clean: bool, gone_in_us: int = -1) -> None:
        """``gone_in_us``: when the last slot of it has left every window; -1 where that is not known."""
        keys, member_key = self._store.keys, (source, self._limiter.epochs.of(source), member)
        hold_us = to_micros(self._limiter.windows.hold_seconds)
        state, fleet = keys.state(source), keys.fleet(source)

        def call(terms: Terms) -> Leave:
            bounds = terms.asked_us, terms.deadline_us
            return Leave(state, fleet, member, is_clean, hold_us, gone_in_us, *bounds)

        reserved_until = (await self._limiter.settle(LEAVE, source, call)).reserved_until
        if reserved_until:
            self._reserved_until[member_key] = reserved_until
        else:
            self._reserved_until.pop(member_key, None)
            if is_clean:
                # It has told its whole bill. What a process that was found dead may have spent stays reserved
                # for the day.
                await self._store.command("HDEL", keys.purses(source, self._store.clock.today), member)
