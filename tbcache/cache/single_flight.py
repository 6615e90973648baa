"""One load at a time: callers who want the same share it, be they threads or tasks of event loops."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from tbcache.io import IO, world
from tbcache.io.fork import renew_in_child


class _Abandoned(Exception):
    """The caller that loads was cancelled. Those who wait load the value themselves."""


class _Flight:
    """A load under way, and who runs it."""

    def __init__(self) -> None:
        self.future: Future[Any] = Future()
        self._thread = threading.get_ident()
        self._world: IO = world()

    @property
    def is_ours(self) -> bool:
        """True where its end would wait for the caller: it is the load that asks for its own key, or one
        of the event loop that the caller is about to block."""
        return self in _FLIGHTS.get() or (
            self._thread == threading.get_ident() and self._world is not world()
        )


#: The loads that the running code is part of.
_FLIGHTS: ContextVar[frozenset[_Flight]] = ContextVar("tbcache.flights", default=frozenset())


class SingleFlight:
    """Loads under way, by key."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Forget all loads: at the start, and after a fork, as those under way end in the parent."""
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}

    def end(self, matches: Callable[[str], object]) -> None:
        """Let nobody join the loads of such keys that are under way by now."""
        with self._lock:
            self._flights = {key: one for key, one in self._flights.items() if not matches(key)}

    async def run(self, key: str, load: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run ``load``, or wait for who does; its exception is everyone's. A caller who is cancelled does
        not end it."""
        while True:
            mine = _Flight()
            with self._lock:
                flight = self._flights.setdefault(key, mine)
            if flight is mine:
                return await world().detach(functools.partial(self._fly, key, mine, load))
            if flight.is_ours:
                return await load()
            try:
                return await world().wait(flight.future)
            except _Abandoned:
                continue

    async def _fly(self, key: str, mine: _Flight, load: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        before = _FLIGHTS.set(_FLIGHTS.get() | {mine})
        try:
            value = await load()
            mine.future.set_result(value)
            return value
        except Exception as error:
            mine.future.set_exception(error)
            raise
        except BaseException:
            mine.future.set_exception(_Abandoned())
            raise
        finally:
            with self._lock:
                if self._flights.get(key) is mine:
                    del self._flights[key]
            # A coroutine that is collected unfinished is not in its own context any more.
            with contextlib.suppress(ValueError):
                _FLIGHTS.reset(before)
