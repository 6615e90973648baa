"""Troubles from when they began to when they ended, for all to read: an incident each.

The process that watches the fleet writes them (``tbcache/fleet/alert``): there is one at a time, and what one
that has been followed by another would write is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Literal, NamedTuple

import msgspec

from tbcache.models.decoder import Moment
from tbcache.models.shape import Shape
from tbcache.models.untrusted import LINE, NotJson, printable, read_json
from tbcache.settings.alert import MOST_RULES
from tbcache.store import Refused, Store
from tbcache.store.reply import flag
from tbcache.store.script import Key, Script

#: What is over is kept for so long, and of all together no more than so many.
KEPT = timedelta(days=7)
MOST = 500
#: An incident's id is so many hex digits.
ID_DIGITS = 16
#: So many fields that are no incidents are removed at once.
MOST_JUNK = 500
#: The key's own: an incident that is open for longer without a change would be begun anew.
_KEY_KEPT = timedelta(days=32)

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
News = Literal["", "opened", "resolved"]
#: A kind of trouble, and the source or the queue that it is about.
IncidentKey = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Incident(Shape):
    """A trouble that was, or is: one that comes and goes is one, which was there `times` times."""

    id: str
    kind: str
    source: str | None
    what: str
    """As it began, and, once somebody was told of it, as it was then."""
    todo: str
    began_at: Moment
    """As far as that is known."""
    seen_at: Moment
    """When it was first seen."""
    times: Count = 1
    gone_at: Moment | None = None
    """Since when it is not seen; it has ended once that lasts."""
    ended_at: Moment | None = None
    opened_at: Moment | None = None
    """When somebody was to be told of it, by the rules."""
    resolved_at: Moment | None = None
    """And of its end."""
    sent: News = ""
    """What the webhook was told last, or given up."""
    tries: Count = 0
    """How often what it is to be told next was sent; of what was given up, how often that was."""
    next_try_at: Moment | None = None
    """When that is sent again."""
    queue: str | None = None
    """The queue that it is about, where that is no source's."""

    @property
    def name(self) -> str | None:
        """The source or the queue that it is about."""
        return self.source or self.queue

    @property
    def key(self) -> IncidentKey:
        """There is one at a time of each."""
        return self.kind, self.name

    @property
    def unsent(self) -> News:
        """What the webhook is to be told; "" for nothing."""
        due: News = "resolved" if self.resolved_at else "opened" if self.opened_at else ""
        return "" if due == self.sent else due

    def lasted(self, now: datetime) -> float:
        """For how many seconds it lasted, or lasts."""
        return max(0.0, ((self.ended_at or now) - self.began_at).total_seconds())


class Watcher(NamedTuple):
    """Which process watches the fleet, None for none; ``fault``: what is wrong with the key that says so.

    ``rules`` are those that it goes by, and ``webhook`` is where it sends, None for nowhere. Where it does
    not say (it is of an earlier version), or nobody watches, ``rules`` is None.
    """

    name: str | None
    fault: str = ""
    rules: tuple[str, ...] | None = None
    webhook: str | None = None


class Terms(msgspec.Struct, frozen=True):
    """What the process ``name`` goes by as it watches: the rules as they are written, and the address of its
    webhook without what is secret of it."""

    name: str
    rules: tuple[str, ...]
    webhook: str | None = None


class WriteIncidents(NamedTuple):
    """Write ``changes``, where the lease's token is the asker's. Replies whether it is."""

    lease: Key
    incidents: Key
    token: int
    kept_ms: int
    changes: tuple[str, ...]


_INCIDENTS = Script("incident", WriteIncidents, flag)


class Incidents:
    """Those of the fleet.

    While Redis is away it raises Unavailable.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def publish(self, terms: Terms, kept_ms: int) -> None:
        """Say what this process goes by, as long as it watches."""
        self._store.call("SET", self._store.keys.alert_terms, msgspec.json.encode(terms), "PX", kept_ms)

    def watcher(self) -> Watcher:
        found = self.holder()
        try:
            terms = _read_terms(self._store.call("GET", self._store.keys.alert_terms))
        except Refused:
            return found
        # Another may have followed the one that has written it.
        if terms is None or found.name != terms.name:
            return found
        return found._replace(rules=terms.rules, webhook=terms.webhook)

    def holder(self) -> Watcher:
        """Who watches, by the lease alone."""
        key = self._store.keys.alert_lease
        try:
            text, ttl_ms = self._store.call("GET", key), int(self._store.call("PTTL", key))
        except Refused as error:
            return Watcher(None, f"the lease {key} cannot be read ({error.reason})")
        # One without an end is of none of us: see lead.lua.
        if text is None or ttl_ms < 0:
            return Watcher(None)
        return Watcher(printable(text.decode("utf-8", "replace").partition(" ")[2]) or None)

    def read(self) -> dict[str, Incident]:
        """All, by id; what is damaged is left out."""
        return self.sift()[0]

    def sift(self) -> tuple[dict[str, Incident], list[bytes]]:
        """All, by id, and the fields that are none, so many at once: others write to Redis too."""
        found = self._store.call("HGETALL", self._store.keys.incidents)
        # Depending on the protocol the reply is a mapping, or fields and values by turns.
        pairs = found.items() if isinstance(found, Mapping) else zip(found[::2], found[1::2], strict=False)
        # An id of ours is short, so that what is told from the rest without reading it comes first.
        likely = sorted(pairs, key=lambda pair: len(pair[0]) != ID_DIGITS)
        read = {name: read_incident(text) for name, text in likely[: 2 * MOST]}
        known = {one.id: one for name, one in read.items() if one is not None and one.id.encode() == name}
        junk = [name for name in read if name.decode(errors="replace") not in known]
        junk += [name for name, _ in likely[2 * MOST :] if len(name) != ID_DIGITS]
        return known, junk[:MOST_JUNK]

    def sweep(self, junk: Iterable[bytes]) -> None:
        """Remove fields that are no incidents."""
        if fields := list(junk):
            self._store.call("HDEL", self._store.keys.incidents, *fields)

    def write(self, token: int, changed: Iterable[Incident], removed: Iterable[str] = ()) -> bool:
        """Write those that have ``changed``, and forget the ``removed``; False where another leads by now."""
        changes = [part for one in changed for part in (one.id, msgspec.json.encode(one).decode())]
        changes += [part for name in removed for part in (name, "")]
        keys, kept_ms = self._store.keys, round(_KEY_KEPT.total_seconds() * 1000)
        call = WriteIncidents(keys.alert_lease, keys.incidents, token, kept_ms, tuple(changes))
        return self._store.run(_INCIDENTS, call)

    def add(self, one: Incident) -> None:
        """Write one that nobody else knows of: that Redis was away."""
        key = self._store.keys.incidents
        self._store.change(
            ("HSET", key, one.id, msgspec.json.encode(one)),
            ("EXPIRE", key, int(_KEY_KEPT.total_seconds())),
        )


def stale(known: Iterable[Incident], now: datetime) -> list[str]:
    """The ids of those that are kept no longer: over for too long, or too many."""
    found = sorted(known, key=lambda one: one.began_at)
    over = [one for one in found if one.ended_at]
    old = [one for one in over if one.ended_at and now - one.ended_at > KEPT]
    surplus = max(0, len(found) - len(old) - MOST)
    return [one.id for one in (*old, *[one for one in over if one not in old][:surplus])]


def _read_terms(text: bytes | None) -> Terms | None:
    """What was written as such; None where it is none."""
    try:
        found = read_json(text or b"", Terms)
    except NotJson:
        return None
    rules = tuple(printable(one, LINE) for one in found.rules[:MOST_RULES])
    return Terms(printable(found.name), rules, printable(found.webhook, LINE) if found.webhook else None)


def read_incident(text: bytes) -> Incident | None:
    """What was written as one; None where it is none."""
    try:
        found = read_json(text, Incident)
    except NotJson:
        return None
    what, todo = printable(found.what, LINE), printable(found.todo, LINE)
    source, queue = (None if name is None else printable(name) for name in (found.source, found.queue))
    return replace(
        found,
        id=printable(found.id, 40),
        kind=printable(found.kind),
        source=source,
        what=what,
        todo=todo,
        queue=queue,
    )
