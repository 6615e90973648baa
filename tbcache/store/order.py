"""What operators have said of a source or a queue: that it is paused or drained, and which limits hold.

It stands in the source's state (state.lua), where every script that takes a slot or a job reads it: so it is
in force, for the whole fleet, from the moment at which it was said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, cast, get_args

from tbcache.models import Limit
from tbcache.models.shape import Shape
from tbcache.models.untrusted import moment, whole_number
from tbcache.store.connection import Store
from tbcache.store.said import ORDERED, TAKEN_BACK, Ordered, Said, read_said
from tbcache.store.script import Key, Script
from tbcache.store.wire import pack_limits, read_limits

#: pause: nothing is sent, and no job is handed out. drain: nothing new is accepted.
What = Literal["pause", "drain"]
#: What takes an order back.
RESUME = "resume"
#: What can be said.
ORDERS = (*get_args(What), RESUME)


@dataclass(frozen=True, slots=True)
class Order(Shape):
    """A source or a queue is paused, or drained: since when (UTC), who said so, and why."""

    what: What
    since: datetime
    who: str
    why: str

    @property
    def since_when(self) -> str:
        """The same in words, with since when."""
        done = "paused" if self.what == "pause" else "drained"
        return f"{done} since {self.since:%Y-%m-%d %H:%M:%S} UTC by {self.who}{_reason(self.why)}"

    def __str__(self) -> str:
        return f"{'paused' if self.what == 'pause' else 'drained'} by {self.who}{_reason(self.why)}"


@dataclass(frozen=True, slots=True)
class Bound(Shape):
    """Limits, like `100/15m`, that an operator has set beside those that the processes were started
    with."""

    limits: tuple[str, ...]
    since: datetime
    who: str
    why: str

    @property
    def since_when(self) -> str:
        """The same in words, with since when."""
        at = f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        return f"{','.join(self.limits)} since {at} by {self.who}{_reason(self.why)}"

    def __str__(self) -> str:
        return f"{','.join(self.limits)} set by {self.who}{_reason(self.why)}"


class GiveOrder(NamedTuple):
    """Have a source or a queue paused, or drained, or go on; ``since`` 0 for from now on."""

    state: Key
    bell: Key
    what: str
    since: int
    who: str
    why: str


class SetBound(NamedTuple):
    """Set limits of a source, or take back what was set (``-``); ``since`` 0 for from now on."""

    state: Key
    fleet: Key
    limits: str
    since: int
    who: str
    why: str


_ORDERS = Script("order", GiveOrder, ORDERED)
_BOUNDS = Script("bound", SetBound, ORDERED)


async def give_order(store: Store, name: str, said: Said) -> Ordered:
    """Have the source or the queue ``name`` do what is said: ``pause``, ``drain``, or ``resume``."""
    keys = store.keys
    call = GiveOrder(keys.state(name), keys.queue(name, "bell"), said.value, said.since, said.who, said.why)
    return await store.ask(_ORDERS, call)


async def set_bound(store: Store, source: str, said: Said) -> Ordered:
    """Set limits of a source, as :func:`bound_of` has them; none are in force while no process uses it."""
    keys = store.keys
    call = SetBound(keys.state(source), keys.fleet(source), said.value, said.since, said.who, said.why)
    return await store.ask(_BOUNDS, call)


def bound_of(limits: Iterable[Limit]) -> str:
    """How limits are said; no limits take back what was set."""
    return pack_limits(limits) or TAKEN_BACK


def read_order(text: bytes | None, again: bytes | None = None) -> Order | None:
    """The order that the field of the state says; None where it says none, or is damaged. ``again`` is the
    field that says since when it stands, where it was said again.
    """
    said, since = _read(text, again)
    if said is None or since is None or said.value not in get_args(What):
        return None
    return Order(cast(What, said.value), since, said.who, said.why)


def read_bound(text: bytes | None, again: bytes | None = None) -> Bound | None:
    """As :func:`read_order`, of the limits that an operator has set."""
    said, since = _read(text, again)
    limits = read_limits(said.value) if said else ()
    if said is None or since is None or not limits:
        return None
    return Bound(tuple(map(str, limits)), since, said.who, said.why)


def _read(text: bytes | None, again: bytes | None) -> tuple[Said | None, datetime | None]:
    said = read_said(text)
    return said, moment(_first(said.since, again)) if said else None


def _first(since: int, again: bytes | None) -> int:
    number, _, first = (again or b"").partition(b" ")
    is_of_it = number == str(since).encode()
    return (whole_number(first, least=1, most=since) if is_of_it else None) or since


def _reason(why: str) -> str:
    return f": {why}" if why else ""
