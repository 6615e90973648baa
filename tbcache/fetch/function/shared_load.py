"""One load per key in an event loop: tasks that want the same value share its load."""

from __future__ import annotations

import asyncio
import functools
import threading
import weakref
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from tbcache.io.fork import renew_in_child
from tbcache.io.trace import carrier, link

T = TypeVar("T")


class _SharedLoad:
    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.waiting = 0
        self.is_joined = False
        #: The context of the span in which it was begun.
        self.carrier = carrier()


class SharedLoads:
    """The loads under way in each loop, by key. A load is cancelled once nobody waits for it any more, so it
    is no :class:`tbcache.cache.single_flight.SingleFlight`, which other loops and threads share."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Forget all loads, at the start and in a forked child, which has loops of its own."""
        # The loads are kept by loop, because each thread may have a loop of its own. A loop that is gone is
        # dropped.
        self._lock = threading.Lock()
        self._loads: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, _SharedLoad]] = (
            weakref.WeakKeyDictionary()
        )

    async def run(self, key: Hashable, load: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """What ``load`` returns, and whether others have it as well; all get its exception. Where it is
        cancelled from within, the next of those who wait loads."""
        with self._lock:
            loads = self._loads.setdefault(asyncio.get_running_loop(), {})
        while True:
            shared = loads.get(key)
            if shared is not None and shared.task.done():
                shared = None  # An interrupt came before it was told to leave.
            is_ours = shared is None
            if shared is None:
                shared = loads[key] = _SharedLoad(asyncio.create_task(load()))
                shared.task.add_done_callback(functools.partial(self._end, loads, key, shared))
            elif shared.task is asyncio.current_task():
                # A load that asks for its own key must not wait for itself. A task that it has begun may:
                # the load need not wait for that one.
                return await load(), False
            else:
                shared.is_joined = True
                link(shared.carrier)
            shared.waiting += 1
            try:
                return await asyncio.shield(shared.task), shared.is_joined
            except asyncio.CancelledError:
                if is_ours or not shared.task.cancelled() or _is_cancelled():
                    raise
            finally:
                shared.waiting -= 1
                if not shared.waiting and not shared.task.done():
                    # The next caller begins a new load.
                    self._end(loads, key, shared)
                    shared.task.cancel()

    def _end(
        self, loads: dict[Hashable, _SharedLoad], key: Hashable, shared: _SharedLoad, _: object = None
    ) -> None:
        if loads.get(key) is shared:
            del loads[key]


def _is_cancelled() -> bool:
    """Whether somebody has cancelled the task that runs this."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
