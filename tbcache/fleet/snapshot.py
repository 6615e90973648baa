"""What one look reads of Redis, in two round trips: the server, and the state of each source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.exceptions import NoPermissionError

from tbcache.fleet.agreed import Agreed
from tbcache.fleet.answer import Kept, kept
from tbcache.fleet.rest import read_resting
from tbcache.fleet.warm_sets import listed_of
from tbcache.io import run
from tbcache.models import FetchRequest
from tbcache.models.untrusted import moment, whole_number
from tbcache.settings import Source
from tbcache.store import Store
from tbcache.store.clear import read_logs
from tbcache.store.envelope import is_credible
from tbcache.store.refusal import Refusal
from tbcache.store.reply import pairs
from tbcache.store.server import ServerFacts, facts_of
from tbcache.store.state import FIELDS, SourceState, state_of
from tbcache.store.wire import day_of, midnight_of, read_time, to_micros, to_time

#: So many slots of a source are shown, at most: the last ones.
MOST_SLOTS = 600


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look shows: the server, and of each source its warm count, its state, today's bill and what
    Redis refuses of its keys.

    Money in millionths of a dollar; a bill of None cannot be read. ``spent_at`` is when the budget was
    found to be spent.
    """

    at: datetime
    facts: ServerFacts
    denied: tuple[str, ...]
    warm: dict[str, int]
    states: dict[str, SourceState]
    bills: dict[str, int | None]
    spent_at: dict[str, datetime | None]
    refused: dict[str, Refusal]
    #: What is kept of each common symbol, and the stamps of the slots (us).
    kept: dict[str, tuple[Kept, ...]]
    stamps: dict[str, tuple[int, ...]]
    resting: dict[str, int]

    def is_spent(self, source: Source) -> bool:
        """Whether the day's budget of ``source`` is spent, as which an unreadable bill counts."""
        return self.has_spent(source, source.daily_budget or None)

    def has_spent(self, source: Source, dollars: float | None) -> bool:
        """Whether ``source`` has cost so much today, or may have; never where that is None."""
        bill = self.bills[source.name]
        if dollars is None or not source.is_enabled:
            return False
        return bill is None or to_micros(dollars) <= bill

    def resting_of(self, source: Source, common: int) -> int:
        """How many of the ``common`` symbols rest; what has become fresh since they were counted does not."""
        return max(0, min(self.resting.get(source.name, 0), common - self.warm[source.name]))

    @property
    def midnight(self) -> datetime:
        """When the day of the budgets ends."""
        return midnight_of(day_of(self.at) + 1)


def read_snapshot(store: Store, goes_by: Agreed, refused: dict[str, Refusal], *, is_whole: bool) -> Snapshot:
    """Read what a status is made of. Where not ``is_whole``: without the slots, and what is kept warm."""
    keys, today = store.keys, store.clock.today
    sources = goes_by.sources.values()
    asked = [(source, listed(source, goes_by) if is_whole else []) for source in sources]
    asks = list[tuple[str | int, ...]]()
    for source, requests in asked:
        asks.append(("HMGET", keys.state(source.name), *FIELDS))
        budget = to_micros(source.daily_budget or 0)
        asks.append(("HMGET", keys.usage(source.name, today), "spent", f"spent_at.{budget}"))
        if is_whole:
            asks.append(("ZRANGE", keys.slots(source.name), -MOST_SLOTS, -1, "WITHSCORES"))
        asks += [("GET", keys.entry(request.key)) for request in requests]
    time, info, subscribed, resting, *found = store.execute(
        ("TIME",),
        ("INFO",),
        # Nobody listens to that channel. It shows whether we have the right to the one that all use.
        ("PUBLISH", keys.rights, ""),
        ("GET", keys.schedule("resting")),
        *asks,
    )
    # They are read after the entries, so that what was cleared in between is seen.
    cleared_of = [keys.clears(source.name) for source in sources] if is_whole else []
    logs = run(read_logs(store, cleared_of))
    now_us = read_time(time)
    denied = tuple(_denied(info, subscribed, keys.notices))
    at, rest = to_time(now_us), read_resting(resting)
    snapshot = Snapshot(at, facts_of(info), denied, {}, {}, {}, {}, refused, {}, {}, rest)
    answers = iter(found)
    for source, requests in asked:
        snapshot.states[source.name] = state_of(next(answers), snapshot.at)
        spent, spent_at = _bill(next(answers))
        snapshot.bills[source.name], snapshot.spent_at[source.name] = spent, spent_at
        if not is_whole:
            continue
        snapshot.stamps[source.name] = _stamps(next(answers))
        cleared = logs[keys.clears(source.name)]
        entries = [next(answers) for _ in requests]
        fresh = [
            cleared.fresh_until(request.key, entry) for request, entry in zip(requests, entries, strict=True)
        ]
        fresh = [until if is_credible(until, now_us, source.cache_ttl) else 0 for until in fresh]
        snapshot.warm[source.name] = sum(until > now_us for until in fresh)
        snapshot.kept[source.name] = tuple(map(kept, requests, entries, fresh))
    return snapshot


def listed(source: Source, goes_by: Agreed) -> list[FetchRequest]:
    """The fetches that are kept warm; none of a source that nobody has configured."""
    if source.name not in goes_by.configured:
        return []
    return listed_of(source, goes_by.symbols, goes_by.hours)


def _bill(found: Any) -> tuple[int | None, datetime | None]:
    """The day's bill, and when its budget was spent; None where that cannot be read."""
    spent, at = found if isinstance(found, list) else ("", None)
    return 0 if spent is None else whole_number(spent), moment(at)


def _stamps(found: Any) -> tuple[int, ...]:
    """The stamps of slots (us); none of a key of another type."""
    return tuple(int(float(score)) for _, score in pairs(found))


def _denied(info: Any, subscribed: Any, channel: str) -> Iterator[str]:
    if isinstance(info, NoPermissionError):
        yield "this user may not ask INFO: the server's version, memory and clients are not known"
    if isinstance(subscribed, NoPermissionError):
        yield (
            f"this user may not use the channel {channel}: other processes learn with their next beat "
            "what they would hear at once"
        )
