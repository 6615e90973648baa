"""What is put right of the windows as Redis comes back, before anyone else uses it."""

from __future__ import annotations

import math

from tbcache.io import run
from tbcache.limiter.join import Joining
from tbcache.limiter.restoration import Restoration
from tbcache.limiter.script import TAKE, Take
from tbcache.limiter.slot_end import SlotEnds
from tbcache.limiter.window import Windows
from tbcache.store import Refused
from tbcache.store.wire import pack_limits


class WindowRepair:
    """The :class:`tbcache.store.breaker.Repair` of the windows."""

    def __init__(self, windows: Windows, ends: SlotEnds, join: Joining, restoration: Restoration) -> None:
        self._windows, self._ends, self._join, self._restoration = windows, ends, join, restoration

    @property
    def is_needed(self) -> bool:
        """See :class:`tbcache.store.breaker.Repair`."""
        return bool(self._windows.broken)

    def is_concerned(self, was_away: bool) -> bool:
        """See :class:`tbcache.store.breaker.Repair`."""
        return bool(self._concerned(was_away))

    def quiet_at(self, was_away: bool) -> float:
        """See :class:`tbcache.store.breaker.Repair`."""
        return max(
            (self._windows.of(source).in_doubt_until for source in self._concerned(was_away)),
            default=-math.inf,
        )

    def repair(self, was_away: bool) -> bool:
        """Tell the server of the slots that were taken without it."""
        # Every source is tried. That one could be mended says nothing of the others.
        mended = [run(self._put_back(source)) for source in self._concerned(was_away)]
        return any(mended)

    def done(self) -> None:
        """See :class:`tbcache.store.breaker.Repair`."""
        if self._windows.machine.is_marked_fallback:
            self._windows.stay_clean()
        for source in self._windows:
            # Slots may have ended since they were put back.
            run(self._ends.try_to_report(source))

    def _concerned(self, was_away: bool) -> list[str]:
        return [source for source in self._windows if was_away or source in self._windows.broken]

    async def _put_back(self, source: str) -> bool:
        """Tell the server of the slots that were taken without it; False where it cannot store them."""
        window = self._windows.of(source)
        try:
            if source in self._windows.broken and window.limits:
                await self._look_at(source)
            await self._restoration.restore(source)
            if source in self._windows.broken:
                # A beat reads all keys of the source's window, so it fails where one is still damaged.
                await self._join.now(source)
        except Refused:
            return False
        window.forget_lost()
        self._windows.broken.mended(source)
        return True

    async def _look_at(self, source: str) -> None:
        """Look at the window as every ask does, but without a name, so that Redis does not record who looks.

        After Redis has heard of a process, that counts each of its slots that leaves the window as used by
        the others for one window more. If each try were heard, it would have nothing left to go on with.

        Raises:
          Unavailable: the server is away. Refused: the source's keys cannot be used.
        """
        ask = Take(
            window=self._windows.keys(source),
            limits=pack_limits(self._windows.of(source).limits),
            is_take=False,
            id="",
            cost=1,
            held_us=0,
            asked_us=0,
            deadline_us=0,
            seen_before="",
            patience_us=0,
            process="",
            beside="fleet",
        )
        await self._windows.run(TAKE, source, ask)
