"""What the pages show, made of the fleet's status: one row for each thing that is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from markupsafe import Markup

from tbcache.api.page import svg
from tbcache.api.page.chart import Place, course
from tbcache.api.page.words import moment, signed
from tbcache.fleet import FleetStatus
from tbcache.fleet.answer import Kept
from tbcache.fleet.model import LimitStatus, SourceStatus
from tbcache.fleet.snapshot import MOST_SLOTS

#: What a row stands for, in a word that is never told by colour alone.
Tone = Literal["good", "fair", "bad", "none"]

#: What is not listed is held up, and nothing is wrong: limited, paused, drained.
TONES: dict[str, Tone] = {
    "ok": "good",
    "failing": "bad",
    "refused": "bad",
    "closed": "bad",
    "off": "none",
    "unknown": "none",
}


@dataclass(frozen=True, slots=True)
class Window:
    """One limit: its slots in time, how many are left, and when the next comes free."""

    limit: LimitStatus
    span: str
    picture: Markup
    #: What the picture does not show; "" where it shows all.
    hidden: str = ""
    #: When the next request may go: now, at a moment, or when nobody knows; a dash while Redis is away.
    next_may_go: str = "—"
    #: Why nothing may go now, where that says more than that the limit is used up.
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A source."""

    source: SourceStatus
    tone: Tone
    word: str
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """An answer that is kept warm: how much of its time is over, and how much of its hours is known."""

    symbol: str
    tone: Tone
    word: str
    title: str
    #: In seconds; None where there is no answer.
    age: float | None = None


def rows(status: FleetStatus) -> list[Row]:
    """The sources in the order of their names; those that are off last."""
    found = [_row(source, status.at) for source in status.sources]
    return sorted(found, key=lambda row: row.source.state == "off")


def _row(source: SourceStatus, now: datetime) -> Row:
    windows = tuple(_window(source, limit, now) for limit in source.limits)
    return Row(source, TONES.get(source.state, "fair"), source.state, windows)


def _window(source: SourceStatus, limit: LimitStatus, now: datetime) -> Window:
    span, begin = svg.span(limit.window_seconds), now - timedelta(seconds=limit.window_seconds)
    # Older slots than the last so many are not looked at.
    is_cut = len(source.slots) >= MOST_SLOTS and source.slots[0] > begin
    picture = svg.window(
        source.slots, now, limit.window_seconds, since=source.slots[0] if is_cut else None, used=limit.used
    )
    hidden = f"its last {MOST_SLOTS} slots: where it is hatched, those before are not drawn" if is_cut else ""
    reason = "" if limit.reason == f"limit {limit.count}" else limit.reason or ""
    return Window(limit, span, picture, hidden, _next_may_go(source, now), reason)


def _next_may_go(source: SourceStatus, now: datetime) -> str:
    """When the source may send again: each of its limits must let it."""
    if source.is_limited is None or source.state == "off":
        return "—"
    if not source.is_limited:
        return "now, if it is queued" if source.state == "drained" else "now"
    if source.order is not None and source.order.what == "pause":
        return "once resumed"
    ends = [limit.reset_at for limit in source.limits if limit.is_limited]
    known = [at for at in ends if at is not None]
    return moment(max(known), now) if known and len(known) == len(ends) else "nobody knows"


def freshness(status: FleetStatus) -> list[tuple[SourceStatus, list[Cell]]]:
    """Of each source that is kept warm a cell for each common symbol."""
    return [
        (source, list(_cells(source, status.at)))
        for source in status.sources
        if source.common and source.kept and source.state != "off"
    ]


def _cells(source: SourceStatus, now: datetime) -> Iterator[Cell]:
    for one in source.kept:
        yield _cell(one, now)


def _cell(one: Kept, now: datetime) -> Cell:
    found, symbol = one.sentiment, one.request.symbol
    if found is None or one.fresh_until is None:
        return Cell(symbol, "none", "none", f"{symbol}: no answer is kept")
    covered = found.covered_hours / one.request.hours
    left = (one.fresh_until - now).total_seconds()
    is_fresh, is_whole = left > 0, covered >= 0.95
    # All is known of it, and there is nothing: no score comes of that.
    is_empty = is_whole and not found.count
    tone: Tone = ("good" if is_whole and not is_empty else "fair") if is_fresh else "bad"
    word = ("empty" if is_empty else f"{covered:.0%}") if is_fresh else "stale"
    title = (
        f"{symbol}: {found.covered_hours:g} of {one.request.hours} hours known, with {found.count} items, "
        f"fresh until {one.fresh_until:%H:%M:%S} UTC"
    )
    return Cell(symbol, tone, word, title, max(0.0, (now - found.as_of).total_seconds()))


@dataclass(frozen=True, slots=True)
class Shown:
    """What a source says of a symbol."""

    kept: Kept
    cell: Cell
    picture: Markup | None
    words: str = ""


def answer(one: Kept, now: datetime) -> Shown:
    """An answer with its score and its items over the hours, as a picture."""
    found = one.sentiment
    if found is None or not found.buckets:
        return Shown(one, _cell(one, now), None)
    places = [Place(bucket.score, None, 0.5, bucket.items) for bucket in found.buckets]
    known = [bucket.score for bucket in found.buckets if bucket.score is not None]
    span = f"from {signed(min(known))} to {signed(max(known))}" if known else "none"
    most = max(bucket.items for bucket in found.buckets)
    words = f"scores {span}, at most {most} items an hour" if one.request.hours == 24 else f"scores {span}"
    return Shown(one, _cell(one, now), course(places, words), words)


def is_demo(status: FleetStatus) -> bool:
    """True where every source that is on asks a simulator of this machine."""
    hosts = {urlsplit(source.base_url).hostname for source in status.sources if source.is_enabled}
    return bool(hosts) and hosts <= {"127.0.0.1", "localhost", "simulator"}
