"""This process's place among those that share a source's limits.

A member says a few times a second that it is there, and learns its share: the part of
each limit that is its own while Redis is away (own.py). One that falls silent has its
share kept free (slots.lua), until it is back, or known to be dead, or forgotten.

In between it listens: an upstream that said stop to one has said so to all, also to
those whose slots were granted before.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

import redis
from redis.client import PubSub

from tbcache.store.connection import Store, Unavailable
from tbcache.store.own import ABSENT_SECONDS
from tbcache.store.wire import pack_limits, to_micros

BEAT_SECONDS = ABSENT_SECONDS / 3
#: Shares move as members come and go: each asks for its own at least so often.
SHARE_SECONDS = 1.0
#: A host that died takes its processes' shares along for so long.
FORGET_SECONDS = 300.0


class Membership:
    """Beats for every source this process takes slots of, in a thread, from start to stop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked_at: dict[str, float] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._messages: PubSub | None = None

    def start(self) -> None:
        """Join the fleet; does nothing when it has."""
        if self._thread is None or not self._thread.is_alive():
            self._stopped.clear()
            self._thread = threading.Thread(target=self._run, name="tbcache-member", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Leave the fleet and give the share back, as far as Redis can be told."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
        if self._messages is not None:
            self._messages.close()
        try:
            for source in self._asked_at:
                self._bury(source, [self._store.member])
        except Unavailable:
            return

    def beat(self, source: str) -> None:
        """Say that this process is there, and learn its share of ``source``'s limits.

        Raises:
          Unavailable: the server is away.
        """
        own, keys = self._store.own(source), self._store.keys
        going_by = own.share if source in self._asked_at else 0.0
        self._asked_at[source] = asked_at = time.monotonic()
        now_us, *answer = self._store.run(
            "beat",
            [keys.slots(source), keys.state(source), keys.fleet(source)],
            [
                pack_limits(own.limits),
                self._store.member,
                f"{going_by:.9f}",
                self._store.deadline_us(source),
                to_micros(FORGET_SECONDS),
            ],
        )
        if answer:
            share, free, epoch, *absent = answer
            own.share = float(share)
            own.hear(int(free) / 1000)
            own.hear_fleet(asked_at, is_whole=not absent)
            self._store.notice_epoch(source, epoch.decode())
            if dead := [name for name in (member.decode() for member in absent) if self._is_dead(name)]:
                self._bury(source, dead)
        self._store.learn_time(int(now_us), asked_at, source)

    def _run(self) -> None:
        while True:
            try:
                for source in self._store.sources_in_use():
                    if self._is_due(source):
                        self.beat(source)
            except Unavailable:
                pass
            self._listen(time.monotonic() + BEAT_SECONDS)
            if self._stopped.is_set():
                return

    def _listen(self, until: float) -> None:
        """Hear what is told to all, until it is time for the next beat."""
        try:
            if self._messages is None:
                self._messages = self._store.subscribe()
            while (left := until - time.monotonic()) > 0 and not self._stopped.is_set():
                message = self._messages.get_message(timeout=left)
                if message is not None:
                    self._store.hear_closure(message["data"])
        except (Unavailable, redis.RedisError, OSError):
            self._messages = None
            self._stopped.wait(max(0.0, until - time.monotonic()))

    def _is_due(self, source: str) -> bool:
        """What the process asks anyway says as well that it is there."""
        now, own = time.monotonic(), self._store.own(source)
        is_silent = now - own.heard_at >= BEAT_SECONDS or own.needs_word(BEAT_SECONDS)
        return is_silent or now - self._asked_at.get(source, 0.0) >= SHARE_SECONDS

    def _is_dead(self, member: str) -> bool:
        """True when ``member`` was a process of this machine and is no more."""
        host, _, pid = member.rpartition("-")
        if host != self._store.member.rpartition("-")[0] or not pid.isdigit():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def _bury(self, source: str, members: Sequence[str]) -> None:
        keys = self._store.keys
        self._store.run("leave", [keys.state(source), keys.fleet(source)], members)
