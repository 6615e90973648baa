"""What admission is asked, what it answers, and what a load reports at its end. All of it is plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from tbcache.models import Failure, FetchRequest, Keyed, Lane, RateHint
from tbcache.models.price import NOTHING, Bill
from tbcache.models.request import TIMELINE
from tbcache.settings import Source
from tbcache.store.constant import GIVING_BACK
from tbcache.store.memory import Bought


class Ask(msgspec.Struct, frozen=True):
    """One question: what is to be done for this request?

    ``needed`` is for how many seconds more a value has to stay fresh: one that expires sooner counts as
    expired. ``slot`` is a slot that the queue holds for this ask already, "" for a job that came with none.
    ``patience`` is how long (seconds) the asker would wait for a slot. ``can_fall_back``: without Redis
    the process goes by its own part of the limit; False for whatever is asked for a job of the queue.
    ``caller`` is in whose name it is asked; None where it is the process's own. ``is_invited``: nobody has
    asked, it would be loaded along with what somebody asks for, and no figure counts it. ``is_backfill``: it
    is for older items of the database.
    """

    source: Source
    request: Keyed
    lane: Lane = "interactive"
    needed: float = 0.0
    slot: str | None = None
    patience: float = 0.0
    can_fall_back: bool = True
    caller: str | None = None
    is_invited: bool = False
    is_backfill: bool = False

    @property
    def timeline_key(self) -> str:
        """The cache key of the timeline that the answer is made from; "" where it is made from none."""
        return self.request.timeline_key if isinstance(self.request, FetchRequest) else ""

    @property
    def is_of_queue(self) -> bool:
        """True of a job's, which was accepted as it was queued."""
        return self.slot is not None

    @property
    def is_new(self) -> bool:
        """False of a job's, which was counted as it was queued, and of a pre-warm, which nobody asks for."""
        return not self.is_of_queue and self.lane == "interactive"

    @property
    def is_asked(self) -> bool:
        """False where nobody asks: of a pre-warm, and of what would be loaded along with another."""
        return self.lane == "interactive" and not self.is_invited

    @property
    def may_be_old(self) -> bool:
        """Whether an old value may be given; it may not where it is asked for in order to refresh it."""
        return self.lane == "interactive" and not self.needed and not self.slot

    @property
    def may_wait(self) -> bool:
        """Whether the asker would rather wait than be given a value that is no answer any more."""
        return self.patience > 0 and self.may_be_old

    def takes(self, overdue: float) -> bool:
        """Whether a value whose TTL has been over for ``overdue`` seconds is an answer to this ask.

        To one who may wait, a value that is twice as old as its TTL is none, and stands in only where waiting
        brings no new one: who asks once an hour would else have, each time, the value that the ask before has
        loaded. admit.lua says the same.
        """
        return not (self.may_wait and overdue >= self.source.cache_ttl)

    @property
    def is_deep(self) -> bool:
        """True where the request fills older hours, for which nobody waits."""
        return self.is_backfill or (isinstance(self.request, FetchRequest) and self.request.is_deep)

    @property
    def hours(self) -> int:
        """For how many hours the timeline has to be known; 0 where there is none."""
        return self.request.hours if isinstance(self.request, FetchRequest) else 0

    def others(self, hours: int) -> tuple[str, ...]:
        """The cache keys of the other answers, over up to ``hours``, that all make of its timeline."""
        symbol = self.timeline_key.removesuffix(TIMELINE)
        keys = (f"{symbol}{each}" for each in range(1, hours + 1))
        return tuple(key for key in keys if key != self.request.key)


class Grant(msgspec.Struct, frozen=True):
    """A slot that is held, and the lease of a key: the permission to load it.

    ``token`` is the name of the lease. ``slot`` is the name of the slot for the page that is asked for now;
    for the first page it is the same as the token. Nothing may be sent before ``starts_at``, after
    ``send_by``, or once the source is closed: see ``Admission.may_send``. These moments are of this process's
    monotonic clock. ``is_lost``: Redis was asked for the grant and could not answer, so it may have granted
    the same. ``timeline`` is the JSON of the timeline that is known so far, where there is one. ``began`` is
    when the first page was granted. ``promised_at``: since when the slot is promised, where it is so for
    later (see :meth:`Promises.is_kept`).
    """

    ask: Ask
    token: str
    slot: str
    granted_at: float
    starts_at: float
    send_by: float
    is_fallback: bool = False
    is_lost: bool = False
    timeline: bytes | None = None
    began: float = 0.0
    promised_at: float = 0.0


class Hit(msgspec.Struct, frozen=True):
    """There is a fresh value: its JSON, and for how many seconds it stays fresh."""

    payload: bytes
    fresh_seconds: float


@dataclass(frozen=True, slots=True)
class Stale:
    """There is an old value, which is an answer (see :meth:`Ask.takes`). Somebody else refreshes it, or
    nobody may do so now.
    """

    payload: bytes
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Derive:
    """There is a fresh timeline, from which the answer can be made: its JSON. ``head`` is the beginning of
    its entry, which shows later that it is still the same.
    """

    timeline: bytes
    head: bytes


@dataclass(frozen=True, slots=True)
class Merge:
    """This process has bought some of the timeline while Redis was away, and adds it to what is there before
    it asks again. ``timeline`` is the JSON of what is there, None where nothing is. ``head`` is the beginning
    of its entry, and ``cleared`` the last clear that was known: both show later that nothing has changed.
    """

    bought: Bought
    timeline: bytes | None
    head: bytes
    cleared: int


class Merged(NamedTuple):
    """A timeline with what was bought without Redis: its JSON, for how many hours it was asked for, the JSON
    of the answer that follows from it, b"" where none does, and when the last of what was bought was read.
    ``answer`` goes to the database; b"" where nothing does.
    """

    timeline: bytes
    hours: int
    payload: bytes
    read_at: datetime
    answer: bytes = b""


class Go(msgspec.Struct, frozen=True):
    """The asker is to fetch it. ``stale`` is the JSON of the old value, where there is one, and ``overdue``
    for how many seconds its TTL is over.
    """

    grant: Grant
    stale: bytes | None = None
    overdue: float = 0.0


@dataclass(frozen=True, slots=True)
class Join:
    """Somebody else fetches it. The asker asks again when the load of ``token`` is over, but no later than
    after ``seconds``. ``stale`` is the JSON of the value that stands in meanwhile, where there is one.
    """

    token: str
    seconds: float
    stale: bytes | None = None
    is_fallback: bool = False


#: Why there is no slot: the limit is used up; the source is closed, as the upstream said stop; the day's
#: budget is spent; a slot is free, but another process has to give it back first; an operator has paused the
#: source, or drains it; or Redis is away, and this process's share of the limit is used up.
Why = Literal["limit", "closed", "budget", "giving_back", "paused", "drained", "share"]
#: An operator said so, and nobody knows until when.
STOPPED: tuple[Why, ...] = ("paused", "drained")


@dataclass(frozen=True, slots=True)
class Wait:
    """There is no slot for ``seconds``. ``why`` is for programs. ``reason`` is for people, and may be a
    message of the upstream. ``stale`` is as in :class:`Join`.
    """

    seconds: float
    retry_at: datetime
    why: Why
    reason: str
    stale: bytes | None = None

    @property
    def is_brief(self) -> bool:
        """True where a slot is free, and another process only has to give it back."""
        return self.why == GIVING_BACK


@dataclass(frozen=True, slots=True)
class Failed:
    """The last load failed, and it is too early for another one."""

    failure: Failure


#: Where the value of a load went: into Redis; nowhere, because the lease was lost or ended by a clear; or
#: into the memory of this process, because Redis is away.
Settled = Literal["stored", "dropped", "fallback"]

#: See ``settle.lua``.
Ending = Literal["value", "failure", "abandon", "interrupted"]

Verdict = Hit | Stale | Derive | Merge | Go | Join | Wait | Failed


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a load ended: with a ``payload`` (JSON) or with a ``failure``. With neither, nothing was sent.

    ``timeline`` is the JSON of the timeline from which the payload was made, and ``hours`` is for how many
    hours that was asked for. ``closed_by`` is a refusal of
    the upstream that holds for the whole source. ``bill`` is what the last page cost; each page before it was
    billed when the slot of the next was taken. ``answer`` goes to the database. ``hints`` are what the
    upstream says is left of its limits.

    ``bought`` is the JSON of what the load has read of the timeline, where Redis was away as it began.

    ``is_over``: the result was stored and counted elsewhere already. ``is_interrupted``: the load was ended
    from outside, which says nothing about the upstream. A request may be under way, so the slot stays held.
    """

    payload: bytes | None = None
    timeline: bytes | None = None
    bought: bytes | None = None
    hours: int = 0
    failure: Failure | None = None
    closed_by: Failure | None = None
    seconds: float | None = None
    pages: int = 0
    bill: Bill = NOTHING
    answer: bytes | None = None
    hints: Sequence[RateHint] = ()
    is_over: bool = False
    is_interrupted: bool = False

    @property
    def ending(self) -> Ending:
        """What is to become of the slot and of the lease, as settle.lua names it."""
        if self.payload is not None:
            return "value"
        if self.is_interrupted:
            return "interrupted"
        return "failure" if self.is_over or self.failure is not None else "abandon"
