"""Watches the fleet: follows its troubles, says in the log what begins and ends, and has the webhook told."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Self

from tbcache.fleet.alert.follow import follow, is_recent, steps
from tbcache.fleet.alert.gone import Gone
from tbcache.fleet.alert.lease import LEASE_MS, Lease
from tbcache.fleet.alert.memory import Memory
from tbcache.fleet.alert.post import Post
from tbcache.fleet.alert.webhook import Webhook
from tbcache.fleet.fleet import Fleet
from tbcache.fleet.incident import ID_DIGITS, KEPT, Incident, Incidents, Terms, stale
from tbcache.fleet.model import FleetStatus, Trouble
from tbcache.fleet.standing import standing_of
from tbcache.io import random_id, utc_now
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.io.redact import Redactor
from tbcache.models.trouble import SERVER_KINDS
from tbcache.settings import Settings
from tbcache.store import Refused, Store, Unavailable, get_store

log = get_logger("tbcache.alert")

TICK_SECONDS = 5.0


class Watch:
    """Watches while this process holds the lease, every few seconds, in a thread of its own."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._rules = settings.alerts
        self._fleet, self._incidents = Fleet(settings, store), Incidents(store)
        self._standing = standing_of(store)
        name, webhook = f"{socket.gethostname()}-{os.getpid()}-{random_id(4)}", Webhook.of(settings)
        self._lease = Lease(store, name)
        self._terms = Terms(name, tuple(map(str, self._rules)), webhook.address if webhook else None)
        gone = None if webhook is None else Gone(store, webhook.mark)
        self._post = Post(webhook, settings.namespace, Redactor(settings.secrets), gone)
        #: All, as they stood in Redis, for when it is away, was emptied, or refuses the key.
        self._known: dict[str, Incident] = {}
        #: Of these: which Redis has lost, and the ids of those that have changed while it was away.
        self._lost: dict[str, Incident] = {}
        self._unwritten: set[str] = set()
        #: What this process, or one before it in this folder, has told of while Redis was away.
        self._memory = Memory(settings.data_dir, settings.namespace)
        self._remembered: set[str] | None = None
        self._junk: list[bytes] = []
        self._thread = BackgroundThread("tbcache-alert", self._step)

    @classmethod
    def of_process(cls, settings: Settings) -> Self:
        return cls(settings, get_store())

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End it, and let another process watch."""
        self._thread.stop()
        self._post.stop()
        if self._lease.token:
            self._lease.resign()

    def look(self) -> None:
        """Look at the fleet once, where it is this process's turn; else keep in mind what another found."""
        if self._remembered is None:
            self._remembered = set(self._remember())
        with contextlib.suppress(Unavailable):
            self._lease.take()
        self._post.look()
        if self._lease.token == 0:
            self._listen()
            return
        # Whoever reads it goes by it where it can be read; nobody needs it.
        with contextlib.suppress(Unavailable):
            self._incidents.publish(self._terms, LEASE_MS)
        status = self._fleet.outline()
        if status.server.is_available:
            self._follow_fleet(status)
        else:
            self._follow_server(status)

    def _remember(self) -> Iterator[str]:
        """Go on with what a process before this one has told of and nobody has taken over; the ids."""
        since = utc_now() - KEPT
        for one in self._memory.read():
            if one.kind in SERVER_KINDS and one.seen_at > since:
                self._known[one.id] = one
                self._unwritten.add(one.id)
                yield one.id
            else:
                self._memory.forget(one.id)

    def _step(self) -> float:
        # Whoever has its turn: the process that has died with Redis may be the one that watched.
        with contextlib.suppress(Unavailable, Refused):
            self._standing.look()
        self.look()
        return TICK_SECONDS

    def _listen(self) -> None:
        at = utc_now()
        if not self._read(at):
            return
        with contextlib.suppress(Unavailable):
            if fault := self._incidents.holder().fault:
                log.error("alert.unwatched", reason=fault)
        self._known |= _by_id(self._post.answered(self._alone(), at))
        for one in self._alone().values():
            if not self._post.is_sending(one) and not self._hand_over(one):
                return

    def _alone(self) -> dict[str, Incident]:
        return {name: one for name, one in self._known.items() if name in self._unwritten}

    def _hand_over(self, one: Incident) -> bool:
        """Write what this process alone knows: that Redis was away. Whoever watches goes on with it."""
        try:
            self._incidents.add(one)
        except Refused as error:
            log.warning("alert.not_kept", reason=error.reason)
        except Unavailable:
            return False
        self._unwritten.discard(one.id)
        self._memory.forget(one.id)
        return True

    def _read(self, at: datetime) -> bool:
        """Learn what stands in Redis, beside what it has lost, or cannot know yet; False while it is away.

        Nobody removes one that is open, or was told of a moment ago: where it is missing, Redis was emptied.
        """
        try:
            found, self._junk = self._incidents.sift()
        except Refused as error:
            log.warning("alert.not_kept", reason=error.reason)
            return True
        except Unavailable:
            return False
        # Whoever was told to go on with it may be further by now.
        for name in (self._remembered or set()) & found.keys():
            self._unwritten.discard(name)
            self._memory.forget(name)
        self._remembered = set()
        alone = self._alone()
        self._lost = {
            name: one
            for name, one in self._known.items()
            if name not in found
            and (one.ended_at is None or self._post.awaits(one, at) or is_recent(one, at))
        }
        self._known = found | self._lost | alone
        return True

    def _follow_server(self, status: FleetStatus) -> None:
        """Of its own absence Redis knows nothing: it is in this process's memory, and by its clock."""
        troubles = [one for one in status.troubles if one.kind in SERVER_KINDS]
        known = {name: one for name, one in self._known.items() if one.kind in SERVER_KINDS}
        after, touched, changed, due = self._follow(known, troubles, utc_now())
        self._known |= after
        self._unwritten |= touched.keys()
        for one in touched.values():
            if one.opened_at is not None:
                self._memory.write(one)
        _say(known, changed)
        self._post.send(due)

    def _follow_fleet(self, status: FleetStatus) -> None:
        if not self._read(status.at):
            return
        known = self._known
        after, touched, changed, due = self._follow(known, status.troubles, status.at)
        removed = stale(after.values(), status.at)
        written = self._lost | {name: after[name] for name in self._unwritten if name in after} | touched
        if self._write(written.values(), removed):
            self._known = {name: one for name, one in after.items() if name not in removed}
            for name in self._unwritten:
                self._memory.forget(name)
            self._unwritten.clear()
            with contextlib.suppress(Unavailable):
                self._incidents.sweep(self._junk)
            _say(known, changed)
            self._post.send(due)

    def _follow(
        self, known: dict[str, Incident], troubles: Iterable[Trouble], at: datetime
    ) -> tuple[dict[str, Incident], dict[str, Incident], list[Incident], list[Incident]]:
        """All as they are now, those that are so anew, those that began or ended, and those to be sent."""
        changed = follow(known.values(), troubles, at, self._rules, lambda: random_id(ID_DIGITS // 2))
        after = known | _by_id(changed)
        answered = self._post.answered(after, at)
        after |= _by_id(answered)
        due = self._post.due(after.values(), at)
        after |= _by_id(due)
        touched = {one.id: after[one.id] for one in (*changed, *answered, *due)}
        return after, touched, changed, due

    def _write(self, changed: Iterable[Incident], removed: Iterable[str]) -> bool:
        """False where another process watches by now, or nobody can say which does."""
        try:
            is_ours = self._incidents.write(self._lease.token, changed, removed)
        except Refused:
            # It holds the lease all the same, and goes by its memory.
            return True
        except Unavailable:
            return False
        if not is_ours:
            log.warning("alert.fenced", reason="another process watches the fleet by now")
        return is_ours


def _say(before: Mapping[str, Incident], changed: Iterable[Incident]) -> None:
    for one in changed:
        facts = {"kind": one.kind, "source": one.name, "incident": one.id, "what": one.what}
        for step in steps(before, one):
            if step == "began":
                log.info("trouble.began", **facts, since=one.began_at.isoformat(timespec="seconds"))
            elif step == "opened":
                log.warning("alert.opened", **facts, todo=one.todo)
            elif step == "ended":
                log.info("trouble.ended", **facts, seconds=round(one.lasted(one.seen_at)), times=one.times)
            else:
                log.warning("alert.resolved", **facts, seconds=round(one.lasted(one.seen_at)))


def _by_id(incidents: Iterable[Incident]) -> dict[str, Incident]:
    return {one.id: one for one in incidents}
