"""The ends of slots, of which Redis is told. Otherwise it would hold each slot until its hold expires."""

from __future__ import annotations

import contextlib

from tbcache.limiter.script import COMMIT, RELEASE, Commit, Release
from tbcache.limiter.window import Windows
from tbcache.store import Store, Unavailable


class SlotEnds:
    """Ends slots of this process."""

    def __init__(self, store: Store, windows: Windows) -> None:
        self._store, self._windows = store, windows

    async def commit(self, source: str, slot: str, cost: int) -> None:
        """Commit a slot: what was sent with it was answered. Redis is told now, or once it is back."""
        window = self._windows.of(source)
        window.must_report(slot, cost)
        window.commit(slot, cost)
        await self.try_to_report(source)

    async def release(self, source: str, slot: str, cost: int) -> None:
        """Release a slot: nothing was sent with it. Redis is told now, or once it is back.

        No other slot may have its name afterwards, because Redis may be told at any later moment.
        """
        window = self._windows.of(source)
        window.must_report(slot, cost)
        window.release(slot, cost)
        await self.try_to_report(source)

    async def try_to_report(self, source: str) -> None:
        """Do what :meth:`report` does. If Redis is away, it is told once it is back."""
        with contextlib.suppress(Unavailable):
            await self.report(source)

    async def report(self, source: str) -> None:
        """Tell Redis of the slots that are over."""
        window, slots = self._windows.of(source), self._store.keys.slots(source)
        for slot, cost, is_unused in window.unreported:
            if is_unused:
                await self._windows.run(RELEASE, source, Release(slots, slot, cost))
            else:
                asked_us = self._store.clock.asked_us(source)
                await self._windows.run(COMMIT, source, Commit(slots, slot, cost, asked_us))
            window.reported(slot)
