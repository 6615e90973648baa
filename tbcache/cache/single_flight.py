"""One load at a time: callers who want the same share it, be they threads or tasks of event loops."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, InvalidStateError
from contextvars import ContextVar
from typing import Any, NamedTuple

from tbcache.io import BLOCKING, IO, now, world
from tbcache.io.error import own_copy
from tbcache.io.fork import renew_in_child


class _Landing(NamedTuple):
    """How a load ended: with a value, or with the error that it raised."""

    value: Any = None
    error: Exception | None = None

    def taken(self) -> Any:
        """The value, for one of those who have waited."""
        if self.error is not None:
            raise own_copy(self.error)
        return self.value


class _End:
    """The end of a load. The future brings None where it came to none, and those who wait load the value
    themselves."""

    def __init__(self) -> None:
        self.future: Future[_Landing | None] = Future()
        #: True from just before it is said. To ask a future takes its lock, which an interrupt may leave
        #: locked.
        self.is_near = False


class _Flight:
    """A load under way, and who runs it. Those who wait for it look after them at ``look_at``."""

    def __init__(self) -> None:
        self.end = _End()
        self.look_at = 0.0
        #: True once who runs it sees to its end, whatever becomes of its caller.
        self.is_flown = False
        #: True once its caller does not wait for it any more, by when it mostly is over.
        self.is_given_up = False
        #: True once another loads the value, as who ran this one was gone.
        self.is_replaced = False
        #: The loads that it waits for, be it in a task that it has begun, or by who blocks its loop.
        self.awaited: list[_Flight] = []
        self._thread = threading.current_thread()
        self._world: IO = world()

    @property
    def is_held_up(self) -> bool:
        """True where it goes on only after the caller: it is a load that the caller is part of, or one of the
        event loop that the caller blocks."""
        return self in _FLIGHTS.get() or (
            self._thread is threading.current_thread() and self._world is not world()
        )

    @property
    def is_ours(self) -> bool:
        """True where its end would wait for the caller, as that of a load which it waits for would."""
        ahead, met = [self], set[_Flight]()
        while ahead:
            one = ahead.pop()
            if one.is_held_up:
                return True
            if one not in met:
                met.add(one)
                ahead += one.awaited
        return False

    @property
    def is_left(self) -> bool:
        """True where it may have no end: its thread has ended, its loop is not run any more, or its caller
        was cancelled, mostly by a time limit."""
        return self.is_given_up or not self._world.runs(self._thread)

    def replace(self, other: _Flight) -> None:
        """Go on in place of ``other``: who waits for that waits for this one, and has what comes first."""
        self.end, other.is_replaced = other.end, True

    def land(self, landing: _Landing | None) -> None:
        """Tell those who wait. The first one counts: an interrupt may come just after it."""
        if self.is_replaced and (landing is None or landing.error is not None):
            return  # The other may still bring a value.
        self.end.is_near = True
        with contextlib.suppress(InvalidStateError):
            self.end.future.set_result(landing)


#: The loads that the running code is part of.
_FLIGHTS: ContextVar[frozenset[_Flight]] = ContextVar("tbcache.flights", default=frozenset())


class SingleFlight:
    """Loads under way, by key, for all threads and loops of the process.

    A load goes on though its caller is cancelled, as it may be another's loop that waits for it. Who waits
    looks every ``seconds`` whether it does go on, and else loads the value himself: a loop may not be run any
    more, an interrupt may leave anything undone, and what a caller's time limit has left may never end.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
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

    async def run(self, key: str, load: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, bool]:
        """What ``load`` returns, and whether it was another's; its exception is everyone's. A caller who is
        cancelled does not end it."""
        mine = _Flight()
        # An interrupt may come as soon as it is in the table.
        try:
            while (flight := self._joined(key, mine)) is not mine:
                landing = None
                with self._awaiting(flight) as is_endless, contextlib.suppress(TimeoutError):
                    if not is_endless:
                        landing = await world().wait(flight.end.future, flight.look_at - now())
                if is_endless:
                    return await load(), False
                if landing is not None:
                    return landing.taken(), True
            return await world().detach(functools.partial(self._fly, key, mine, load)), False
        finally:
            mine.is_given_up = True
            if not mine.is_flown:
                self._leave(key, mine)

    @contextlib.contextmanager
    def _awaiting(self, flight: _Flight) -> Iterator[bool]:
        """Meanwhile the loads that the caller holds up wait for ``flight``; whether they would do so for
        ever."""
        with self._lock:  # Who awaits blocks no loop.
            others = tuple(self._flights.values()) if world() is BLOCKING else ()
        held_up = {one for one in (*_FLIGHTS.get(), *others) if one.is_held_up}
        # It is there before the look: of two loads that wait for each other, one at least sees that.
        for one in held_up:
            one.awaited.append(flight)
        try:
            yield flight.is_ours
        finally:
            for one in held_up:
                one.awaited.remove(flight)

    def _joined(self, key: str, mine: _Flight) -> _Flight:
        """The load of ``key`` that is under way; ``mine`` from now on, where there is none that goes on."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None or flight.end.is_near:
                flight = self._flights[key] = mine
            elif flight.look_at <= now() and flight.is_left:
                mine.replace(flight)
                flight = self._flights[key] = mine
            if flight.look_at <= now():
                flight.look_at = now() + self._seconds
            return flight

    async def _fly(self, key: str, mine: _Flight, load: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        # A task that a load has begun may outlast it, and begin loads and tasks of its own.
        under_way = (one for one in _FLIGHTS.get() if not one.end.is_near)
        before = _FLIGHTS.set(frozenset((*under_way, mine)))
        try:
            mine.is_flown = True
            value = await load()
            mine.land(_Landing(value))
            return value
        except Exception as error:
            mine.land(_Landing(error=own_copy(error)))
            raise
        finally:
            self._leave(key, mine)
            # A coroutine that is collected unfinished is not in its own context any more.
            with contextlib.suppress(ValueError):
                _FLIGHTS.reset(before)

    def _leave(self, key: str, mine: _Flight) -> None:
        """Have ``mine`` stand in nobody's way: who waits for it still loads the value himself."""
        with self._lock:
            if self._flights.get(key) is mine:
                del self._flights[key]
        mine.land(None)
