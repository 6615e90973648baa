"""Watches the fleet: follows its troubles, says in the log what begins and ends, and has the webhook told."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Self

from tbcache.fleet.alert.follow import follow, steps
from tbcache.fleet.alert.lease import Lease
from tbcache.fleet.alert.post import Post
from tbcache.fleet.alert.webhook import Webhook
from tbcache.fleet.fleet import Fleet
from tbcache.fleet.incident import Incident, Incidents, stale
from tbcache.fleet.model import FleetStatus
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
        self._lease = Lease(store, f"{socket.gethostname()}-{os.getpid()}-{random_id(4)}")
        self._post = Post(Webhook.of(settings), settings.namespace, Redactor(settings.secrets))
        #: Those of Redis itself: this process alone knows of them.
        self._of_server: dict[str, Incident] = {}
        #: The others, as they stood in Redis, for when the key cannot be read.
        self._known: dict[str, Incident] = {}
        self._thread = BackgroundThread("tbcache-alert", self._step)

    @classmethod
    def of_process(cls, settings: Settings) -> Self:
        """Over the store of this process."""
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
        """Look at the fleet once, where it is this process's turn, or it has told of Redis."""
        with contextlib.suppress(Unavailable):
            self._lease.take()
        is_leading = self._lease.token > 0
        if is_leading or self._of_server:
            status = self._fleet.status()
            self._follow_server(status)
            if is_leading and status.server.is_available:
                self._follow_fleet(status)

    def _step(self) -> float:
        self.look()
        return TICK_SECONDS

    def _follow_server(self, status: FleetStatus) -> None:
        """Of its own absence Redis knows nothing: all of it is in this process's memory, and by its clock."""
        at, known = utc_now(), self._of_server
        troubles = [one for one in status.troubles if one.kind in SERVER_KINDS]
        changed = follow(known.values(), troubles, at, self._rules, _new_id)
        _say(known, changed)
        known |= _by_id(changed)
        known |= _by_id(self._post.answered(known, at))
        due = self._post.due(known.values(), at)
        known |= _by_id(due)
        self._post.send(due)
        if status.server.is_available:
            self._hand_over(
                [one for one in known.values() if one.ended_at and not self._post.awaits(one, at)]
            )

    def _hand_over(self, over: Iterable[Incident]) -> None:
        """Have them stand beside the others, for whoever asks what has been."""
        for one in over:
            try:
                self._incidents.add(one)
            except Refused as error:
                log.warning("alert.not_kept", reason=error.reason)
            except Unavailable:
                return
            del self._of_server[one.id]

    def _follow_fleet(self, status: FleetStatus) -> None:
        try:
            self._known = self._incidents.read()
        except Refused as error:
            log.warning("alert.not_kept", reason=error.reason)
        except Unavailable:
            return
        known = {name: one for name, one in self._known.items() if one.kind not in SERVER_KINDS}
        changed = follow(known.values(), status.troubles, status.at, self._rules, _new_id)
        after = known | _by_id(changed)
        answered = self._post.answered(after, status.at)
        after |= _by_id(answered)
        due = self._post.due(after.values(), status.at)
        after |= _by_id(due)
        touched = {one.id: after[one.id] for one in (*changed, *answered, *due)}
        if self._write(touched.values(), stale(self._known.values(), status.at)):
            self._known |= after
            _say(known, changed)
            self._post.send(due)

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
        facts = {"kind": one.kind, "source": one.source, "incident": one.id, "what": one.what}
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


def _new_id() -> str:
    return random_id(8)
