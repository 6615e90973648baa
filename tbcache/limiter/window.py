"""The windows of all sources, as this process knows them, and why it goes on without Redis at one of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, TypeVar

from tbcache.limiter.ask import WindowKeys
from tbcache.limiter.broken import Broken
from tbcache.limiter.closure import Closures
from tbcache.limiter.local_window import LocalWindow
from tbcache.limiter.machine import Machine
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.slot_file import SlotFile
from tbcache.limiter.stay import Stays
from tbcache.store import Refused, Store
from tbcache.store.script import Script

C = TypeVar("C", bound=tuple[Any, ...])
R = TypeVar("R")


class Windows:
    """A window for each source that this process knows of. Iterating gives their names."""

    def __init__(self, store: Store, closures: Closures, stays: Stays) -> None:
        self._store, self._closures, self._stays = store, closures, stays
        #: For how long (seconds) a slot is held for one request.
        self.hold_seconds = store.settings.lease_seconds
        self.machine = Machine(store)
        self.broken = Broken(store)
        self._windows: dict[str, ProcessWindow] = {}
        self._keys: dict[str, WindowKeys] = {}

    def renew(self) -> None:
        """Forget, in a forked child, what Redis has told the parent: it was meant for one process only."""
        for window in self._windows.values():
            window.renew()
        self.broken.renew()
        self.machine.renew()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._windows))

    def of(self, source: str) -> ProcessWindow:
        """The slots of ``source`` that this process has taken."""
        window = self._windows.get(source)
        if window is None:
            window = self._windows.setdefault(source, self._new(source))
        return window

    def _new(self, source: str) -> ProcessWindow:
        may_fall_back = functools.partial(self._may_fall_back, source)
        if self._store.is_command and not self._store.is_shared:
            file = SlotFile(self._store.keys.namespace, source)
            day = functools.partial(getattr, self._store.clock, "day")
            return LocalWindow(file, source, self._closures, self.hold_seconds, day, may_fall_back)
        share = functools.partial(self._newcomers_share, source)
        fall_back = functools.partial(self._fall_back, source)
        return ProcessWindow(may_fall_back, fall_back, share, self._stays)

    def keys(self, source: str) -> WindowKeys:
        """The keys of a source's window."""
        window = self._keys.get(source)
        if window is None:
            keys = self._store.keys
            window = WindowKeys(keys.slots(source), keys.state(source), keys.fleet(source))
            self._keys[source] = window
        return window

    async def run(self, script: Script[C, R], source: str, call: C) -> R:
        """Run a script on the window of ``source``. If Redis refuses it, the source goes on without Redis."""
        self.broken.check(source)
        try:
            return await self._store.ask(script, call)
        except Refused as error:
            self.refuse(source, error)
            raise

    def refuse(self, source: str, error: Refused) -> None:
        """Have ``source`` go on without Redis, as that has refused a script on its window."""
        if source in self._windows:
            self.broken.add(source, error)

    @property
    def in_use(self) -> list[str]:
        """The sources that this process takes slots of."""
        return [source for source, window in self._windows.copy().items() if window.limits]

    # Without Redis

    def why_alone(self, source: str) -> str:
        """Why slots of ``source`` are taken without Redis, in words for users."""
        if not self._store.is_shared:
            return "no Redis is configured"
        return self.broken.why(source) or "Redis is away"

    def _may_fall_back(self, source: str) -> bool:
        breaker = self._store.breaker
        # While Redis is returning, no slot is taken without it: such a slot would come after those that are
        # put back, and Redis would never know of it.
        is_without = breaker.reason is not None or source in self.broken
        # It is unknown how much of the limits processes with another layout use.
        return is_without and not breaker.is_returning and not breaker.has_other_layout

    def _newcomers_share(self, source: str, window: float) -> float:
        """This process's part of a limit over ``window`` seconds, if Redis is away and has never told it one.

        It is nothing while another process of this machine may have slots in that window, nor while this one
        reaches Redis, as one that is :class:`Unheard` does: the others take there what is free.
        """
        if not self._store.is_shared:
            return 1.0
        if self._store.breaker.reason is None and not self.broken.is_refused(source):
            return 0.0
        is_alone = self.machine.marker.is_alone(source, self.hold_seconds + window)
        # By what Redis said last, at any source.
        fleet = max((one.processes for one in self._windows.copy().values()), default=1)
        return 1 / fleet if is_alone else 0.0

    # The marker of this process

    def stay_clean(self) -> None:
        """Have the marker say that Redis knows of all that was sent, unless something was sent without it."""
        if not any(window.has_fallback_slots for window in self._windows.copy().values()):
            self.machine.stay_clean()

    def join_machine(self, source: str) -> None:
        """Have the marker name ``source``, before this process asks Redis for a slot or a part of its limit.

        A process that starts while Redis is away must be able to see that this one is there.
        """
        self.machine.marker.use(source)

    def _fall_back(self, source: str, window: float) -> bool:
        is_known = self.of(source).is_member
        return self.machine.fall_back(source, self.hold_seconds + window, is_known=is_known)

    def has_unheard(self, source: str) -> bool:
        """True where a process of this machine that Redis has told no share may have sent something that is
        in a window of ``source`` yet.
        """
        longest = max((limit.window_seconds for limit in self.of(source).limits), default=0.0)
        return self.machine.marker.has_unheard(source, self.hold_seconds + longest)

    def leave(self) -> None:
        """Have no part of any limit any more: see :meth:`ProcessWindow.leave`. One that has never reached
        Redis was given none.
        """
        if self._stays.has_left:
            for window in self._windows.copy().values():
                window.leave()

    @property
    def in_doubt_until(self) -> float:
        """Until when Redis may carry out what it was asked of any source (monotonic)."""
        return max((window.in_doubt_until for window in self._windows.copy().values()), default=-math.inf)

    def leave_machine(self) -> None:
        """This process ends, and sends nothing any more."""
        self.machine.leave(has_sent=any(window.has_taken for window in self._windows.copy().values()))
