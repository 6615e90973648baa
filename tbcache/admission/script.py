"""The scripts of admission; the files in ``tbcache/lua`` say what each does.

Moments and spans are in microseconds (``_us``), moments by the server's clock; money is in millionths of a
dollar.
"""

from __future__ import annotations

from typing import NamedTuple

from tbcache.admission.verdict import Ending
from tbcache.limiter import Given, Late, SlotScript, WindowKeys
from tbcache.limiter.ask import NOTHING
from tbcache.limiter.script import SeenReply
from tbcache.store import Keys
from tbcache.store.reply import flag, number, one_of
from tbcache.store.script import Key, Script
from tbcache.store.wire import MICROS


class Admit(NamedTuple):
    """Ask what is to be done for a request."""

    window: WindowKeys
    entry: Key
    lease: Key
    usage: Key
    clears: Key
    purses: Key
    timeline: Key
    timeline_lease: Key
    limits: str
    fraction: float
    charge: str
    hold_us: int
    needed_us: int
    ttl_us: int
    stand_in_us: int
    asked_us: int
    deadline_us: int
    worker: str
    id: str
    cost: int
    is_held: bool
    is_of_queue: bool
    seen_before: str
    patience_us: int
    budget: int
    page_price: int
    log_head: bytes
    cleared: int
    process: str
    hours: int
    timeline_cleared: int


class HitReply(NamedTuple):
    """There is a fresh value."""

    now: int
    entry: bytes


class StaleReply(NamedTuple):
    """There is an old value that is an answer; another refreshes it, or nobody may."""

    now: int
    entry: bytes
    failure: bytes


class DeriveReply(NamedTuple):
    """The timeline that the answer is made of is fresh."""

    now: int
    timeline: bytes


class GoReply(NamedTuple):
    """The asker holds a slot, which begins at ``start``, and has the lease of the key."""

    now: int
    entry: bytes
    seen: SeenReply
    start: int
    present_us: int
    timeline: bytes


class JoinReply(NamedTuple):
    """Another process loads the key."""

    now: int
    token: str
    ends_at: int
    entry: bytes


class WaitReply(NamedTuple):
    """There is no slot."""

    now: int
    retry_at: int
    code: str
    reason: bytes
    seen: SeenReply
    entry: bytes


class FailedReply(NamedTuple):
    """The last load failed, and it is too early for another."""

    now: int
    failure: bytes


class ClearedReply(NamedTuple):
    """The asker does not know the present log of clears. Nothing was done."""

    now: int
    log: bytes


class Turn(NamedTuple):
    """Between two pages of one answer: commit the slot of the one, bill it, and take a slot for the next."""

    window: WindowKeys
    lease: Key
    usage: Key
    billed: Key
    purses: Key
    timeline_lease: Key
    limits: str
    hold_us: int
    fraction: float
    id: str
    next_id: str
    cost: int
    asked_us: int
    deadline_us: int
    token: str
    worker: str
    budget: int
    page_price: int
    amount: int
    process: str
    seen_before: str
    once: tuple[str | int, ...]


class TurnedReply(NamedTuple):
    """The next slot is held."""

    now: int
    seen: SeenReply


class FetchQueue(NamedTuple):
    """The parts of a source's queue that are told of an answer that is stored; queue.lua says what is in
    each."""

    pending: Key
    answered: Key
    bell: Key


def fetch_queue(keys: Keys, source: str) -> FetchQueue:
    """Those of the queue of ``source``."""
    return FetchQueue(*(keys.queue(source, part) for part in FetchQueue._fields))


class Settle(NamedTuple):
    """End a load, whether it has succeeded or failed."""

    slots: Key
    state: Key
    entry: Key
    lease: Key
    usage: Key
    woken: Key
    outbox: Key
    billed: Key
    timeline: Key
    timeline_lease: Key
    queue: FetchQueue
    others: tuple[Key, ...]
    id: str
    cost: int
    worker: str
    kind: Ending
    payload: bytes
    fresh_us: int
    stale_us: int
    amount: int
    latency: str | int
    took_us: int
    error_kind: str
    backoff_us: int
    closed_until: int
    reason: str
    answer: bytes
    pages: int
    token: str
    hints: str
    limits: str
    asked_us: int
    deadline_us: int
    budget: int
    has_timeline: bool
    timeline_payload: bytes
    timeline_us: int
    loader: str
    once: tuple[str | int, ...]


class SettledReply(NamedTuple):
    """Whether the value was stored, and whether the asker still had the lease."""

    now: int
    is_stored: bool
    is_ours: bool


class StoreDerived(NamedTuple):
    """Store an answer that was made from a timeline."""

    entry: Key
    timeline: Key
    outbox: Key
    queue: FetchQueue
    head: bytes
    payload: bytes
    stale_us: int
    answer: bytes


class PutBack(NamedTuple):
    """Store what was loaded without Redis."""

    clears: Key
    everything: Key
    deleted: Key
    entry: Key
    queue: FetchQueue
    asked_us: int
    deadline_us: int
    began_us: int
    fresh_us: int
    gone_us: int
    payload: bytes


class StoreMerged(NamedTuple):
    """Store a timeline with what was bought without Redis, and the answer that follows from it."""

    clears: Key
    everything: Key
    deleted: Key
    timeline: Key
    entry: Key
    outbox: Key
    queue: FetchQueue
    others: tuple[Key, ...]
    asked_us: int
    deadline_us: int
    began_us: int
    cleared: int
    head: bytes
    fresh_us: int
    timeline_us: int
    stale_us: int
    payload: bytes
    value: bytes
    answer: bytes


#: What :data:`MERGE` replies where another has changed the timeline meanwhile.
CHANGED = 2


Admitted = HitReply | StaleReply | DeriveReply | GoReply | JoinReply | WaitReply | FailedReply


def _admitted(ask: Admit, reply: Admitted | ClearedReply) -> Given:
    if isinstance(reply, GoReply):
        starts_in = (reply.start - reply.now) / MICROS
        present = reply.present_us / MICROS
        return Given([ask.id], starts_in, ask.hold_us / MICROS, cost=ask.cost, present=present)
    if isinstance(reply, ClearedReply):
        return NOTHING
    if ask.is_held and ask.charge == "fetch":
        # The script has given back the slot that the queue held for the ask, because nothing was sent.
        return Given(released=[ask.id], cost=ask.cost)
    if isinstance(reply, HitReply | DeriveReply) and ask.charge == "request":
        # Each ask of this source takes a slot, even for a hit, and that slot is over at once.
        return Given(spent=ask.cost)
    return NOTHING


def _turned(ask: Turn, reply: TurnedReply | WaitReply) -> Given:
    if isinstance(reply, WaitReply):
        return NOTHING
    return Given([ask.next_id], held_seconds=ask.hold_us / MICROS, cost=ask.cost)


ADMIT: SlotScript[Admit, Admitted | ClearedReply] = SlotScript(
    "admit",
    Admit,
    one_of(HitReply, StaleReply, DeriveReply, GoReply, JoinReply, WaitReply, FailedReply, Late, ClearedReply),
    _admitted,
)
TURN: SlotScript[Turn, TurnedReply | WaitReply] = SlotScript(
    "turn", Turn, one_of(TurnedReply, WaitReply, Late), _turned
)
SETTLE: Script[Settle, SettledReply | Late] = Script("settle", Settle, one_of(SettledReply, Late))
PUT_BACK: Script[PutBack, bool] = Script("put_back", PutBack, flag)
MERGE: Script[StoreMerged, int] = Script("merge", StoreMerged, number)
DERIVE: Script[StoreDerived, bool] = Script("derive", StoreDerived, flag)
