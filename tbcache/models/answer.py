"""What is answered: a page of items, their sentiment, and the outcome of an ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, NamedTuple, Self

from tbcache.models.error import LIMIT_ERRORS, UPSTREAM_ERRORS, RateLimited, UpstreamError
from tbcache.models.request import FetchRequest
from tbcache.models.untrusted import writable

Label = Literal["bullish", "bearish"]
Right = Literal["call", "put"]
#: ``repost``: another's words and none of one's own; ``notice``: what a robot wrote, as a daily thread.
Kind = Literal["post", "reply", "comment", "quote", "repost", "article", "trade", "notice"]
Origin = Literal["live", "cache", "stale"]


@dataclass(frozen=True, slots=True)
class Engagement:
    """What others did with an item when it was read; None where the upstream does not say.

    ``followers`` are its author's; ``likes`` of reddit are its score, which may be below 0.
    """

    likes: int | None = None
    reposts: int | None = None
    replies: int | None = None
    followers: int | None = None


UNKNOWN_ENGAGEMENT = Engagement()


@dataclass(frozen=True, slots=True)
class Item:
    """One post, article or trade, in one version of it.

    ``at`` is UTC-aware, None only where the upstream gave no time; ``author`` is
    None where deleted or unknown. ``label`` is the author's own. ``score``
    (-1..1) is set where the item states its sentiment in figures, as trades do,
    and goes before label and text; ``weight`` is its share in the mean.

    ``lang`` is the language as the upstream names it (``en``), ``symbols`` the tickers that the upstream says
    it names. ``origin`` is the id of what it repeats or answers. ``first_id`` is the id of its first version,
    where this is a later one with an id of its own. ``is_gone``: it was deleted or removed, and what stands
    here is what is left of it. ``seen_at`` is when this version was read first; None of one that a provider
    has just parsed. Of a trade ``right`` is the option's, and ``is_multi_leg`` says that it is one part of a
    larger trade, as of a spread, so that alone it says nothing of a direction.
    """

    id: str
    at: datetime | None
    text: str
    author: str | None = None
    label: Label | None = None
    score: float | None = None
    weight: float = 1.0
    kind: Kind = "post"
    url: str | None = None
    lang: str | None = None
    symbols: tuple[str, ...] = ()
    engagement: Engagement = UNKNOWN_ENGAGEMENT
    origin: str | None = None
    first_id: str | None = None
    is_gone: bool = False
    seen_at: datetime | None = None
    right: Right | None = None
    is_multi_leg: bool = False

    @property
    def identity(self) -> str:
        """The same for all versions of one item."""
        return self.first_id or self.id


@dataclass(frozen=True, slots=True)
class RateHint:
    """What the upstream's headers say is left of one of its windows."""

    remaining: int
    reset_at: datetime
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: its items and where the next page starts.

    ``items`` are in the upstream's order, newest first, their ids unique; what it pins or promotes, out of
    its order, is left out. ``next`` is None where the answer names no next page. ``exhausted`` says that the
    upstream states that there is none, so that this is all it has of the time asked for: a ``next`` that is
    merely missing or null states nothing. ``depth`` is how many items a listing has at most, where it has
    such a bound: an end that many items deep is not believed. ``total`` is how many items the upstream says
    there are, where it does. ``users`` are the ids of the users that it holds beside its items, which some
    upstreams bill as well; ``gone`` those of items that are there no more, as it says.
    """

    items: tuple[Item, ...]
    next: str | None = None
    total: int | None = None
    hints: tuple[RateHint, ...] = ()
    users: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    exhausted: bool = False
    depth: int | None = None


class Bucket(NamedTuple):
    """A part of the hours: how many items are of it, and the mean score of those that count, None of none."""

    items: int
    score: float | None


class TopItem(NamedTuple):
    """An item that moves the score much: ``share`` (0..1) is what it has of all the weight."""

    id: str
    at: datetime | None
    score: float
    share: float
    url: str | None


class Volume(NamedTuple):
    """How many items there are, beside what there was before; None where that is not known.

    ``day_before`` is the number of items of the same hours a day earlier, ``baseline`` the mean of the same
    hours of those of the last 7 days that are known, three at least. ``change`` and ``baseline_change`` are
    what there is now over these, less 1: 0.5 is half as much again. Quarters of an hour are compared that are
    known completely on both sides, where they make up 80% of the hours.
    """

    day_before: float | None = None
    change: float | None = None
    baseline: float | None = None
    baseline_change: float | None = None


NO_VOLUME = Volume()


class Premium(NamedTuple):
    """US dollars that were paid for calls and for puts, and apart from both, for trades of several legs."""

    call: float
    put: float
    multi_leg: float


@dataclass(frozen=True, slots=True)
class SymbolSentiment:
    """The sentiment of one symbol in one source over ``hours``.

    ``score`` is -1 (bearish) .. 1 (bullish), None where nothing could be scored.
    ``complete`` says that the answer covers all ``hours``; if not, ``since`` is
    how far back it is true and ``reason`` why no further. ``until`` is how far up to
    ``as_of`` it is true, where a plan's items come late, or pages and scorer took more than two seconds; None
    where up to ``as_of`` itself.

    ``count`` is all the items; ``bullish``, ``bearish`` and ``neutral`` are those that count and have a
    score. ``voices`` is how many they come to, where a copy is none and some count in part; None of an
    answer that an earlier version has written. ``dropped`` says how many items each rule took out of
    ``count``: a part of one counts in part.

    The rest is None or empty in answers of earlier versions and in those of the database. ``authors`` is how
    many different ones count, None where no item names its own. ``labelled`` is the share (0..1) of the
    voices whose authors said themselves what they are, ``opinion`` the score among those that are not
    neutral. ``standard_error`` and ``confidence`` (0..1) say how far the score may be trusted: see
    :mod:`tbcache.scoring.precision`. ``buckets`` are 24 equal parts of the hours, the oldest first; ``top``
    are the items that move the score most; ``premium`` is of option trades alone. ``volume_by_upstream`` says
    that some of the quarters that ``volume`` compares with were counted by the upstream, which may count what
    an answer leaves out.
    """

    source: str
    symbol: str
    hours: int
    score: float | None
    count: int
    bullish: int
    bearish: int
    neutral: int
    as_of: datetime
    complete: bool
    since: datetime | None
    scorer: str
    reason: str | None = None
    until: datetime | None = None
    voices: float | None = None
    dropped: Mapping[str, float] = field(default_factory=dict, hash=False)
    authors: int | None = None
    labelled: float | None = None
    opinion: float | None = None
    standard_error: float | None = None
    confidence: float | None = None
    volume: Volume = NO_VOLUME
    buckets: tuple[Bucket, ...] = ()
    top: tuple[TopItem, ...] = ()
    premium: Premium | None = None
    volume_by_upstream: bool = False

    @property
    def covered_hours(self) -> float:
        """Of how many of the ``hours`` the score is true: those from ``since`` to ``until``; 0.0 of none."""
        if self.complete:
            return float(self.hours)
        if self.since is None:
            return 0.0
        covered = ((self.until or self.as_of) - self.since).total_seconds() / 3600
        return round(max(0.0, min(float(self.hours), covered)), 3)

    @property
    def coverage(self) -> float:
        """``covered_hours`` as a share (0..1) of ``hours``."""
        return self.covered_hours / self.hours

    def as_dict(self) -> dict[str, Any]:
        """Its fields by name, those of its parts too, and ``covered_hours``: what JSON and frames have."""
        plain = {each.name: _plain(getattr(self, each.name)) for each in fields(self)}
        return {**plain, "covered_hours": self.covered_hours}

    @property
    def duplicates(self) -> float:
        """How many of the items say again what others said: reposts and near copies."""
        return self.dropped.get("repost", 0.0) + self.dropped.get("copy", 0.0)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        named = getattr(value, "_asdict", None)
        return [_plain(each) for each in value] if named is None else named()
    return dict(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class Failure:
    """An upstream error as data, so that one worker's failure is known to all; or why there was no slot for
    what an old answer stands in for.
    """

    kind: str
    message: str
    status: int
    retry_at: datetime | None

    @classmethod
    def of(cls, error: UpstreamError | RateLimited) -> Self:
        if isinstance(error, RateLimited):
            return cls(error.kind, writable(str(error.reason)), 0, error.retry_at)
        return cls(error.kind, writable(str(error.message)), error.status, error.retry_at)

    def to_error(self, source: str) -> UpstreamError | RateLimited:
        if self.kind in LIMIT_ERRORS and self.retry_at is not None:
            return LIMIT_ERRORS[self.kind](source, self.retry_at, self.message)
        kind = UPSTREAM_ERRORS.get(self.kind, UpstreamError)
        return kind(source, self.message, status=self.status, retry_at=self.retry_at)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one ask, and where it comes from.

    ``age`` is in seconds since ``as_of``. ``error`` is set on a stale answer when
    the last refresh failed, or there was no slot for one in time.
    """

    request: FetchRequest
    sentiment: SymbolSentiment
    origin: Origin
    age: float
    error: Failure | None = None

    @property
    def as_of(self) -> datetime:
        return self.sentiment.as_of

    @property
    def complete(self) -> bool:
        return self.sentiment.complete

    @property
    def covered_hours(self) -> float:
        """Of how many of the hours asked for the score is true: see :class:`SymbolSentiment`."""
        return self.sentiment.covered_hours
