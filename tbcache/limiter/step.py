"""What becomes of the windows when a server's clock is set.

The stamps of its windows are off by as much then, until each process puts back its own slots by its own
clock.
"""

from __future__ import annotations

import contextlib

from tbcache.io import now, random_id
from tbcache.limiter.epoch import Epochs
from tbcache.limiter.restoration import Restoration
from tbcache.limiter.script import LOSE, Lose
from tbcache.limiter.window import Windows
from tbcache.store import Refused, Store
from tbcache.store.clock import Jump
from tbcache.store.wire import to_micros


class ClockSteps:
    """Mends the windows of a server whose clock has jumped, see :meth:`ServerClock.on_jump`."""

    def __init__(self, store: Store, windows: Windows, epochs: Epochs, restoration: Restoration) -> None:
        self._store, self._windows, self._epochs, self._restoration = store, windows, epochs, restoration
        store.clock.on_jump(self._give_up_windows, self._put_back_windows)

    async def _give_up_windows(self, source: str, jump: Jump) -> bool:
        """Give up the windows of the server that holds the keys of ``source``. False where its clock has
        jumped once more since."""
        return all([await self._give_up(concerned, jump) for concerned in self._of_server(source)])

    async def _give_up(self, source: str, jump: Jump) -> bool:
        at = now()
        lose = Lose(
            window=self._windows.keys(source),
            step_us=to_micros(jump.seconds),
            ago_us=to_micros(at - jump.seen_at),
            known=self._epochs.known_before(source, jump.seen_at),
            earliest_us=to_micros(at + jump.low),
            latest_us=to_micros(at + jump.high + self._store.clock.timeout),
            epoch=random_id(),
        )
        # A source whose keys are damaged must not keep the stamps of the others from being mended.
        with contextlib.suppress(Refused):
            return await self._windows.run(LOSE, source, lose)
        return True

    async def _put_back_windows(self, source: str) -> None:
        for concerned in self._of_server(source):
            with contextlib.suppress(Refused):
                # What it was told before may be a moment by either time.
                await self._restoration.restore(concerned, is_step_known=True)

    def _of_server(self, source: str) -> list[str]:
        """The sources of which this process knows something, and whose keys the same server holds."""
        known = [source] if self._store.settings.redis_cluster else self._epochs.sources
        return [one for one in known if self._epochs.of(one)]
