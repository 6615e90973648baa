"""This process's place among those that share a source's limits.

A member says a few times a second that it is there, and learns its share, the part of
each limit that is its own while Redis is away, and its rooms, what it may take of that
at once (own.py). One that falls silent has its share kept free (slots.lua), until it is
back, or known to be dead, or forgotten.

In between it listens: an upstream that said stop to one has said so to all, also to
those whose slots were granted before; and one who needs the others' rooms asks for them.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import redis
from redis.client import PubSub
from redis.exceptions import NoPermissionError

from tbcache.background import BackgroundThread
from tbcache.log import get_logger
from tbcache.store.connection import Refused, Store, Unavailable
from tbcache.store.own import ABSENT_SECONDS, OwnSlots
from tbcache.store.wire import pack_limits, to_micros

log = get_logger("tbcache.store")

BEAT_SECONDS = ABSENT_SECONDS / 3
#: Shares move as members come and go: each asks for its own at least so often.
SHARE_SECONDS = 1.0
#: What a beat is called among a source's asks.
BEAT = "beat"
#: A host that died takes its processes' shares along for so long.
FORGET_SECONDS = 300.0
#: Without the right to the channel, it is asked for again after so long.
DEAF_SECONDS = 60.0


class Membership:
    """Beats for every source this process takes slots of, in a thread, from start to stop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked_at: dict[str, float] = {}
        self._beating = threading.Lock()
        self._thread = BackgroundThread("tbcache-member", self._round)
        self._messages: PubSub | None = None
        self._deaf_until = -math.inf
        store.on_return(self._beat_all)

    def start(self) -> None:
        """Join the fleet; does nothing when it has."""
        if not self._thread.is_running:
            self._store.on_first_ask(self.beat)
            self._beating = threading.Lock()
            self._thread.start()

    def stop(self) -> None:
        """Leave the fleet and give the share back, as far as Redis can be told."""
        self._store.on_first_ask(None)
        self._thread.stop()
        if self._messages is not None:
            self._messages.close()
        try:
            for source in self._asked_at:
                self._bury(source, [self._store.member])
        except Unavailable:
            return

    def beat(self, source: str, *, gives_up_rooms: bool = False) -> None:
        """Say that this process is there, and learn its part of ``source``'s limits.

        Raises:
          Unavailable: the server is away.
        """
        own = self._store.own(source)
        # One at a time: each beat says what was learned from the last.
        with self._beating:
            # The others know of us what was sent, not what we would have sent.
            self._store.check()
            if gives_up_rooms:
                own.give_up_rooms()
            self._beat(source, own)

    def _beat(self, source: str, own: OwnSlots) -> None:
        keys = self._store.keys
        going_by = own.share if own.is_member else 0.0
        rooms, mark = own.report()
        self._asked_at[source] = asked_at = time.monotonic()
        with self._store.awaiting(own, BEAT, 0):
            now_us, *answer = self._store.run(
                "beat",
                [keys.slots(source), keys.state(source), keys.fleet(source)],
                [
                    pack_limits(own.limits),
                    self._store.member,
                    f"{going_by:.9f}",
                    self._store.deadline_us(source),
                    to_micros(FORGET_SECONDS),
                    rooms,
                ],
            )
        if answer:
            share, granted, epoch, closed_until, reason, *absent = answer
            own.receive(float(share), _rooms(granted.decode()), mark)
            own.hear_fleet(asked_at, is_whole=not absent)
            self._store.notice_epoch(source, epoch.decode())
            if int(closed_until) > int(now_us):
                self._store.hear_closure(source, int(closed_until), reason.decode())
            if dead := [name for name in (member.decode() for member in absent) if self._is_dead(name)]:
                self._bury(source, dead)
        self._store.learn_time(int(now_us), asked_at, source)

    def _beat_all(self) -> None:
        """Redis is back: know our part of what is free before it may go again."""
        if self._thread.is_running:
            for source in self._store.sources_in_use():
                with contextlib.suppress(Refused):
                    self.beat(source)

    def _round(self) -> float:
        for source in self._store.sources_in_use():
            # One source whose keys are damaged must not silence us in the others.
            with contextlib.suppress(Unavailable):
                if self._is_due(source):
                    self.beat(source)
        self._listen(time.monotonic() + BEAT_SECONDS)
        return 0.0

    def _listen(self, until: float) -> None:
        """Hear what is told to all, until it is time for the next beat."""
        try:
            if time.monotonic() < self._deaf_until:
                self._thread.pause(until - time.monotonic())
                return
            if self._messages is None:
                self._messages = self._store.subscribe()
            while (left := until - time.monotonic()) > 0 and not self._thread.is_stopping:
                message = self._messages.get_message(timeout=left)
                wanted = self._store.hear_notice(message["data"]) if message is not None else None
                if wanted in self._store.sources_in_use():
                    self.beat(wanted, gives_up_rooms=True)
        except (Unavailable, redis.RedisError, OSError) as error:
            self._messages = None
            if isinstance(error, NoPermissionError):
                self._hear_nothing()
            self._thread.pause(until - time.monotonic())
        except Exception:
            self._messages = None
            raise

    def _hear_nothing(self) -> None:
        """Our user has no right to the channel: what is told there we learn with the next beat."""
        if self._deaf_until == -math.inf:
            log.warning("redis.channel_denied", channel=self._store.keys.notices)
        self._deaf_until = time.monotonic() + DEAF_SECONDS

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
        return _is_zombie(int(pid))

    def _bury(self, source: str, members: Sequence[str]) -> None:
        keys = self._store.keys
        self._store.run("leave", [keys.state(source), keys.fleet(source)], members)


def _rooms(text: str) -> dict[str, int]:
    """``COUNT:SPAN=ROOM,...`` as beat.lua writes it."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {limit: int(room) for limit, _, room in pairs}


def _is_zombie(pid: int) -> bool:
    """True for a process that has ended, which its parent has not been told; False where none can tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return False
    # The state comes after the program's name, which may hold anything.
    return stat.rpartition(")")[2].split()[0] == "Z"
