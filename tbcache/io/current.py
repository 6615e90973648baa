"""The world that the running code is in. Where no driver has set another, it is the blocking one."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import Any, TypeVar

from tbcache.io.blocking import Blocking, complete
from tbcache.io.world import IO

T = TypeVar("T")

BLOCKING = Blocking()
# A process ends when what is under way is over. A child of multiprocessing calls only what is registered in
# the second way, as concurrent.futures does. That comes before threads that outlive the main one are over.
atexit.register(BLOCKING.close)
threading._register_atexit(BLOCKING.close)  # type: ignore[attr-defined]

_WORLD: ContextVar[IO] = ContextVar("tbcache.world", default=BLOCKING)

#: After ``enter(driver)`` the current context is in the world of ``driver``; after ``leave`` with what that
#: returned it is in the world of before. They are the context variable's own methods, as each awaited call
#: would pay for functions around them.
enter: Callable[[IO], Token[IO]] = _WORLD.set
leave: Callable[[Token[IO]], None] = _WORLD.reset


def world() -> IO:
    """The driver that runs this code."""
    return _WORLD.get()


def now() -> float:
    """Seconds of a monotonic clock."""
    return _WORLD.get().now()


def clock() -> float:
    """Seconds since 1970, by the wall clock."""
    return _WORLD.get().clock()


def utc_now() -> datetime:
    """The wall clock's time."""
    return datetime.fromtimestamp(_WORLD.get().clock(), UTC)


def random_id(size: int = 16) -> str:
    """``size`` random bytes as hexadecimal digits: a name that nobody else has."""
    return _WORLD.get().random_id(size)


def random_ids(count: int) -> list[str]:
    """``count`` such names, of 16 bytes each, for one call of the system."""
    digits = random_id(16 * count)
    return [digits[at : at + 32] for at in range(0, len(digits), 32)]


def uniform(low: float, high: float) -> float:
    """A random number between ``low`` and ``high``."""
    return _WORLD.get().uniform(low, high)


@contextmanager
def inside(driver: IO) -> Iterator[None]:
    """What runs meanwhile, in this thread or task, is in the world of ``driver``."""
    before = _WORLD.set(driver)
    try:
        yield
    finally:
        _WORLD.reset(before)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """What ``coroutine`` returns, run to its end in the thread of the caller.

    Raises:
      RuntimeError: it suspends, which nothing does in the blocking world.
    """
    # A context manager would be dearer, and each call of the blocking API pays for this.
    before = _WORLD.set(BLOCKING)
    try:
        return complete(coroutine)
    finally:
        _WORLD.reset(before)
