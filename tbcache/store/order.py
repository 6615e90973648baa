"""What operators have said of a source or a queue: that it is paused or drained, and which limits hold.

It stands in the source's state (state.lua), where every script that takes a slot or a job reads it: so it is
in force, for the whole fleet, from the moment at which it was said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, cast

from tbcache.models import Limit
from tbcache.models.untrusted import moment, printable
from tbcache.store.connection import Store
from tbcache.store.reply import record
from tbcache.store.script import Key, Script
from tbcache.store.wire import pack_limits, read_limits

#: pause: nothing is sent, and no job is handed out. drain: nothing new is accepted.
What = Literal["pause", "drain"]

#: How long a name and a reason may be.
WHO, WHY = 64, 200

_ORDER = re.compile(r"(pause|drain) (\d+) (\S+) ?(.*)", re.DOTALL)
_BOUND = re.compile(r"(\S+) (\d+) (\S+) ?(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Order:
    """A source or a queue is paused, or drained: since when (UTC), who said so, and why."""

    what: What
    since: datetime
    who: str
    why: str

    def __str__(self) -> str:
        return f"{'paused' if self.what == 'pause' else 'drained'} by {self.who}{_reason(self.why)}"


@dataclass(frozen=True, slots=True)
class Bound:
    """Limits that an operator has set beside those that the processes were started with."""

    limits: tuple[Limit, ...]
    since: datetime
    who: str
    why: str

    def __str__(self) -> str:
        return f"{','.join(map(str, self.limits))} set by {self.who}{_reason(self.why)}"


class GiveOrder(NamedTuple):
    """Have a source or a queue paused, or drained, or go on."""

    state: Key
    bell: Key
    what: str
    who: str
    why: str


class Ordered(NamedTuple):
    """What was said until then, as state.lua has it."""

    before: bytes


class SetBound(NamedTuple):
    """Set limits of a source, or take back what was set (empty)."""

    state: Key
    fleet: Key
    limits: str
    who: str
    why: str


class Bounded(NamedTuple):
    """The limits that are in force from then on, and those that an operator had set until then."""

    limits: str
    before: bytes


_ORDERS = Script("order", GiveOrder, record(Ordered))
_BOUNDS = Script("bound", SetBound, record(Bounded))


async def give_order(
    store: Store, name: str, what: What | Literal["resume"], who: str, why: str
) -> Order | None:
    """Have the source or the queue ``name`` paused, or drained, or go on; what was said before.

    Raises:
      Unavailable: the server is away.
    """
    keys = store.keys
    call = GiveOrder(keys.state(name), keys.queue(name, "bell"), what, who, why)
    return read_order((await store.ask(_ORDERS, call)).before)


async def set_bound(
    store: Store, source: str, limits: Iterable[Limit], who: str, why: str
) -> tuple[tuple[Limit, ...], tuple[Limit, ...]]:
    """Set ``limits`` of a source, or take them back where there are none; the limits in force, none while no
    process uses the source, and those that an operator had set until then.

    Raises:
      Unavailable: the server is away.
    """
    keys = store.keys
    call = SetBound(keys.state(source), keys.fleet(source), pack_limits(limits), who, why)
    found = await store.ask(_BOUNDS, call)
    before = read_bound(found.before)
    return read_limits(found.limits), before.limits if before else ()


def read_order(text: bytes | None) -> Order | None:
    """The order that the field of the state says; None where it says none, or is damaged."""
    found = _ORDER.fullmatch((text or b"").decode(errors="replace"))
    since = moment(found[2]) if found else None
    if found is None or since is None:
        return None
    return Order(cast(What, found[1]), since, printable(found[3], WHO), printable(found[4], WHY))


def read_bound(text: bytes | None) -> Bound | None:
    """The limits that the field of the state says; None where it says none, or is damaged."""
    found = _BOUND.fullmatch((text or b"").decode(errors="replace"))
    limits, since = (read_limits(found[1]), moment(found[2])) if found else ((), None)
    if found is None or since is None or not limits:
        return None
    return Bound(limits, since, printable(found[3], WHO), printable(found[4], WHY))


def _reason(why: str) -> str:
    return f": {why}" if why else ""
