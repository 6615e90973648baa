"""One reader for all who wait in this process: a subscription, a thread, and one read for many.

A connection that blocks for each waiter would cost a thousand connections for a thousand
waiters. Here whoever puts the element into a list says so on a channel (wake.lua), and the
lists that somebody waits for here are then read together. What is said before the
subscription stands, or while it is broken, is not heard: so every list is read once when its
waiter comes, once when the subscription stands, and again every now and then.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from typing import Any

import redis
from redis.client import PubSub

from tbcache.io import now, run, world
from tbcache.io.background import BackgroundThread
from tbcache.models.error import RedisUnreachable

#: How often some of the lists are read, though nobody said anything; it also shows a frozen server.
LOOK_SECONDS = 0.2
#: How often some are read while there is no subscription.
POLL_SECONDS = 0.05
#: At once.
MOST_READ = 200
#: How often a subscription is tried: the user may have no right to the channel.
SUBSCRIBE_SECONDS = 1.0
#: The subscription is given up when nobody has waited for so long.
IDLE_SECONDS = 5.0

Wait = Future[bytes]


class Waiter:
    """Waits for the first element of lists, on behalf of any number of threads and tasks.

    ``read`` gives the first elements of many lists, and anything but bytes for a list without
    one; ``subscribe`` a subscription to the channel, with ``timeout`` seconds for its answer.
    Both raise RedisUnreachable while the server is away.
    """

    def __init__(
        self,
        read: Callable[[list[str]], Awaitable[list[Any]]],
        subscribe: Callable[[], PubSub],
        timeout: float,
    ) -> None:
        self._elements = read
        self._new_messages = subscribe
        self._timeout = timeout
        self._lock = threading.Lock()
        self._waits: dict[str, list[Wait]] = {}
        #: The lists that nobody has read since a waiter came; one of those who wait reads them all.
        self._unread: set[str] = set()
        self._is_reading = False
        self._thread = BackgroundThread("tbcache-waiter", self._round, self._unsubscribe)
        self._messages: PubSub | None = None
        self._subscribe_at = 0.0
        self._needed_at = 0.0
        self._turn = 0

    async def first(self, key: str, seconds: float) -> bytes | None:
        """The first element of the list ``key``, which stays there; None after ``seconds`` without one.

        Raises:
          RedisUnreachable: the server is away.
        """
        wait: Wait = Future()
        until = now() + seconds
        with self._lock:
            self._waits.setdefault(key, []).append(wait)
            self._unread.add(key)
            self._needed_at = time.monotonic()
            is_reader, self._is_reading = not self._is_reading, True
        try:
            self._thread.start()
            if is_reader:
                await self._read_new(until)
            return await world().wait(wait, max(0.0, until - now()))
        except TimeoutError:
            return None
        finally:
            self._forget(key, wait)

    def close(self, reason: RedisUnreachable) -> None:
        """Wait for nothing more; whoever waits is told why."""
        self._thread.stop(timeout=0.0)
        self._fail(reason)

    # Reading

    async def _read_new(self, until: float) -> None:
        """Read all lists that nobody has read yet, and those of whom comes meanwhile: they wait for nothing
        but their elements. What is left at ``until`` is for the next reader."""
        try:
            keys = self._still_unread(math.inf)
            while keys:
                await self._read(keys)
                keys = self._still_unread(until)
        except BaseException:
            self._is_reading = False
            raise

    def _still_unread(self, until: float) -> list[str]:
        """What is to be read next; with nothing, the reading is over."""
        with self._lock:
            keys = list(self._unread) if now() < until else []
            self._is_reading = bool(keys)
            return keys

    async def _read(self, keys: Iterable[str]) -> None:
        """Read the lists of those who wait, and give them what is there."""
        with self._lock:
            wanted = [key for key in keys if key in self._waits]
            self._unread.difference_update(keys)
        if not wanted:
            return
        try:
            found = await self._elements(wanted)
        except RedisUnreachable as error:
            self._fail(error)
            return
        for key, element in zip(wanted, found, strict=True):
            if isinstance(element, bytes):
                self._give(key, element)

    def _give(self, key: str, element: bytes) -> None:
        with self._lock:
            for wait in self._waits.pop(key, ()):
                wait.set_result(element)

    def _fail(self, error: RedisUnreachable) -> None:
        with self._lock:
            waits, self._waits = self._waits, {}
            for wait in (one for several in waits.values() for one in several):
                # Each gets its own copy: an error that is raised in several threads collects their traces.
                wait.set_exception(copy.copy(error))

    def _forget(self, key: str, wait: Wait) -> None:
        with self._lock:
            waits = self._waits.get(key)
            if waits is not None and wait in waits:
                waits.remove(wait)
                if not waits:
                    del self._waits[key]
            self._needed_at = time.monotonic()

    # Listening

    def _round(self) -> float | None:
        if not self._waits and time.monotonic() - self._needed_at > IDLE_SECONDS:
            return None
        try:
            if self._messages is not None:
                keys = list(self._listen()) or self._next()
            else:
                self._subscribe()
                keys = list(self._waits) if self._messages is not None else self._next()
        except (RedisUnreachable, redis.RedisError, OSError):
            self._unsubscribe()
            keys = self._next()
        run(self._read(keys))
        return 0.0 if self._messages is not None else POLL_SECONDS

    def _subscribe(self) -> None:
        """Have a subscription that stands: what is said from now on is heard."""
        if time.monotonic() < self._subscribe_at:
            return
        self._subscribe_at = time.monotonic() + SUBSCRIBE_SECONDS
        self._messages = messages = self._new_messages()
        messages.ignore_subscribe_messages = False
        if messages.get_message(timeout=self._timeout) is None:
            self._unsubscribe()

    def _listen(self) -> set[str]:
        """The lists of which it was said that they have an element, as soon as there is one."""
        keys: set[str] = set()
        messages, until = self._messages, time.monotonic() + LOOK_SECONDS
        while messages is not None and len(keys) < MOST_READ:
            # The messages that have come by now are read together with the first.
            left = 0.0 if keys else max(0.0, until - time.monotonic())
            message = messages.get_message(timeout=left)
            if message is not None and message["type"] == "message":
                keys.update({message["data"].decode(errors="replace")} & self._waits.keys())
            if message is None or time.monotonic() > until:
                break
        return keys

    def _next(self) -> list[str]:
        """Some of the lists, in turn."""
        keys = list(self._waits)
        start = self._turn if self._turn < len(keys) else 0
        self._turn = start + MOST_READ
        return keys[start : start + MOST_READ]

    def _unsubscribe(self) -> None:
        messages, self._messages = self._messages, None
        if messages is not None:
            messages.close()
