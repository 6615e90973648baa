"""What admission answers, and what a load reports back. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from tbcache.models import Failure, FetchRequest, Keyed, Lane, RateHint
from tbcache.models.price import NOTHING, Bill
from tbcache.settings import Source
from tbcache.store.constant import GIVING_BACK


class Ask(NamedTuple):
    """One question. ``needed`` is the freshness still wanted, in seconds: a value that
    expires sooner counts as expired. ``slot`` is one the queue holds for this ask already.
    ``patience`` is how long (seconds) the asker would wait for a slot.
    """

    source: Source
    request: Keyed
    lane: Lane = "interactive"
    needed: float = 0.0
    slot: str | None = None
    patience: float = 0.0

    @property
    def timeline_key(self) -> str:
        """The cache key of the timeline that the answer is made of; "" where it is made of none."""
        return self.request.timeline_key if isinstance(self.request, FetchRequest) else ""

    @property
    def is_deep(self) -> bool:
        """True where older hours are filled, which nobody waits for."""
        return isinstance(self.request, FetchRequest) and self.request.is_deep

    @property
    def hours(self) -> int:
        """For how many hours that has to be known; 0 where there is none."""
        return self.request.hours if isinstance(self.request, FetchRequest) else 0


class Grant(NamedTuple):
    """A held slot and the lease of a key.

    ``token`` names the lease, ``slot`` the slot of the page in hand (the first page's
    is the token). Nothing may be sent before ``starts_at`` or after ``send_by``, nor once
    the source is closed: see ``Admission.may_send``. Moments are of this process's
    monotonic clock. ``is_lost``: Redis was asked for it and could not answer; it may have
    granted the same. ``line`` is the JSON of the timeline that is known, where there is one.
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


class Hit(NamedTuple):
    """A fresh value: its JSON, and for how many seconds it stays fresh."""

    payload: bytes
    fresh_seconds: float


@dataclass(frozen=True, slots=True)
class Stale:
    """An old value, while someone else refreshes it or nobody may."""

    payload: bytes
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Derive:
    """A fresh timeline, of which the answer can be made: its JSON. ``head`` is what its entry begins with."""

    timeline: bytes
    head: bytes


@dataclass(frozen=True, slots=True)
class Go:
    """Fetch it. ``stale`` is the old value's JSON, where there is one."""

    grant: Grant
    stale: bytes | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """Someone else fetches it; ask again when ``token``'s load is over, or at ``seconds`` at the latest."""

    token: str
    seconds: float
    is_fallback: bool = False


#: Why there is no slot: the limit is used up; the upstream said stop; the day's money is spent; one
#: is free, and is about to be given back by another process; an operator has paused the source, or drains it;
#: Redis is away, and this process's part is used up.
Why = Literal["limit", "closed", "budget", "giving_back", "paused", "drained", "share"]
#: An operator said so: nobody knows until when.
STOPPED: tuple[Why, ...] = ("paused", "drained")


@dataclass(frozen=True, slots=True)
class Wait:
    """No slot for ``seconds``. ``why`` is for programs; ``reason`` is for people, and may be the
    upstream's own words."""

    seconds: float
    retry_at: datetime
    why: Why
    reason: str

    @property
    def is_brief(self) -> bool:
        """True when a slot is free, and only has to be given back by another process."""
        return self.why == GIVING_BACK


@dataclass(frozen=True, slots=True)
class Failed:
    """The last load failed and it is too early for another."""

    failure: Failure


#: Where the value of a load went: into Redis; nowhere, as the lease was lost or taken by a
#: clear; or into this process's memory, while Redis is away.
Settled = Literal["stored", "dropped", "fallback"]

#: See ``settle.lua``.
Ending = Literal["value", "failure", "abandon", "interrupted"]

Verdict = Hit | Stale | Derive | Go | Join | Wait | Failed


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a load ended: a ``payload`` (JSON), or a ``failure``; neither: nothing was sent. ``line`` is the
    JSON of the timeline that the payload was made of.

    ``closed_by`` is an upstream's refusal that holds for the whole source; ``bill`` what
    the last page cost, those before it having been billed by their turns. ``answer`` goes
    to the database; ``hints`` are what the upstream says is left. ``is_over``: whatever it
    came to was kept and counted elsewhere. ``is_interrupted``: it was ended from outside, which
    says nothing of the upstream; a request may be on its way, so the slot stays held.
    """

    payload: bytes | None = None
    timeline: bytes | None = None
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
        """What becomes of the slot and the lease, in the words of settle.lua."""
        if self.payload is not None:
            return "value"
        if self.is_interrupted:
            return "interrupted"
        return "failure" if self.is_over or self.failure is not None else "abandon"
