"""What all processes share of a source, as it stands in Redis: a closure, the limits in force, and what
operators have said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tbcache.models import Limit
from tbcache.models.shape import Shape
from tbcache.models.untrusted import moment, printable, whole_number
from tbcache.store.connection import Store
from tbcache.store.order import Bound, Order, read_bound, read_order
from tbcache.store.wire import read_limits, read_time, to_time

FIELDS = (
    *("closed_until", "closed_reason", "limits", "closed_at"),
    *("order", "order_since", "bound", "bound_since", "lease"),
)
#: The upstream's words, and ours behind them.
REASON = 400


@dataclass(frozen=True, slots=True)
class Closure:
    """Until when a source is closed to everyone, why, and since when, where that is known."""

    until: datetime
    reason: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Failing(Shape):
    """The failures since a fetch of a source last went well."""

    since: datetime
    count: int
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceState:
    """``limits`` are those of the processes that use the source, none while nobody does. ``hold`` is for how
    long a slot is held at most; None where nobody has said so."""

    closure: Closure | None = None
    limits: tuple[Limit, ...] = ()
    order: Order | None = None
    bound: Bound | None = None
    hold: timedelta | None = None


def read_states(store: Store, sources: Iterable[str]) -> dict[str, SourceState]:
    """The states of ``sources`` by the server's time, in one round trip."""
    names = list(sources)
    asks = (("HMGET", store.keys.state(name), *FIELDS) for name in names)
    time, *states = store.execute(("TIME",), *asks)
    now = to_time(read_time(time))
    return {name: state_of(found, now) for name, found in zip(names, states, strict=True)}


def read_failing(store: Store, source: str) -> Failing | None:
    """How the last fetches of ``source`` failed; None where the last one went well, or no fetch is known."""
    text = store.call("HGET", store.keys.state(source), "failing")
    since, _, rest = printable(text or b"", REASON).partition(" ")
    count, _, kinds = rest.partition(" ")
    at, many = moment(since), whole_number(count)
    return Failing(at, many, tuple(sorted(kinds.split(",")))) if at and many and kinds else None


def state_of(found: Any, now: datetime) -> SourceState:
    """The state that the values of ``FIELDS`` tell of; what is damaged tells nothing."""
    if not isinstance(found, Sequence):
        return SourceState()
    until, reason, limits, closed_at, order, order_again, bound, bound_again, lease = found
    ends_at = moment(until)
    is_closed = ends_at is not None and ends_at > now
    since, why = moment(closed_at), printable(reason or b"closed", REASON)
    closure = Closure(ends_at, why, since) if ends_at and is_closed else None
    in_force = read_limits((limits or b"").decode(errors="replace"))
    held_us = whole_number(lease)
    hold = timedelta(microseconds=held_us) if held_us else None
    return SourceState(
        closure, in_force, read_order(order, order_again), read_bound(bound, bound_again), hold
    )
