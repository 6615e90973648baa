"""Why a source sends nothing now, and until when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tbcache.fleet.model import FleetStatus, SourceStatus
from tbcache.fleet.trouble import failures


@dataclass(frozen=True, slots=True)
class Hindrance:
    """One reason: in words that follow the source's name, and until when it holds; None where nobody knows.

    With ``is_idle`` asking again changes nothing meanwhile: what is queued stays queued, or is refused.
    Where a limit is used up, or others are before it, one more is only later. A job that it ``puts_off``
    waits in no lane: whenever its turn comes, it is put off again. One that ``is_bad`` needs somebody, or
    comes from the upstream: the others are as they are meant to be.
    """

    what: str
    until: datetime | None = None
    is_idle: bool = True
    puts_off: bool = False
    is_bad: bool = False


def hindrances(status: FleetStatus, name: str) -> tuple[Hindrance, ...]:
    """What keeps the source ``name`` from being asked; none where nothing does."""
    source = next((one for one in status.sources if one.name == name), None)
    return () if source is None or source.usage is None else tuple(_of(source, status))


def put_off_by(status: FleetStatus, name: str) -> str:
    """Why a job of ``name`` would be put off again as soon as its turn came, and until when, in words that
    follow the source's name; "" where it would not."""
    found = next((one for one in hindrances(status, name) if one.puts_off), None)
    if found is None:
        return ""
    return found.what + (f" until {found.until:%Y-%m-%d %H:%M:%S} UTC" if found.until else "")


def _of(source: SourceStatus, status: FleetStatus) -> Iterator[Hindrance]:
    if source.why_off:
        yield Hindrance(f"is off: it needs {', '.join(source.missing)}")
        return
    if source.order is not None:
        yield Hindrance(f"is {source.order}")
    if source.refused_reason is not None:
        yield Hindrance(f"cannot be asked: Redis refuses its keys ({source.refused_reason})", is_bad=True)
    if source.spent_until is not None:
        budget = "" if source.daily_budget is None else f" (${source.daily_budget:g})"
        yield Hindrance(f"has spent its budget for the day{budget}", source.spent_until, puts_off=True)
    if source.prewarm_spent_until is not None:
        spent = f"what keeping it warm may cost (${source.prewarm_budget:,.2f}) is spent"
        what = f"is fetched for those who ask alone, as {spent}"
        yield Hindrance(what, source.prewarm_spent_until, is_idle=False)
    if source.closed_until is not None:
        yield Hindrance(f"is closed ({source.closed_reason})", source.closed_until, is_bad=True)
    elif source.state == "failing" and source.recent is not None:
        yield Hindrance(f"is failing ({failures(source.recent)})", is_idle=False, is_bad=True)
    for limit in source.limits:
        # What is closed or spent is said above, and holds all limits.
        if limit.remaining == 0:
            yield Hindrance(f"has used its limit of {limit.limit}", limit.reset_at, is_idle=False)
    if source.queued and not source.is_served:
        yield Hindrance("has jobs in its queue, and no worker takes them", is_idle=False, is_bad=True)
    left = source.backlog_seconds
    if source.load is not None and source.slots_seconds:
        many = f"{source.load.waiting:,} job{'' if source.load.waiting == 1 else 's'}"
        until = None if left is None else status.at + timedelta(seconds=left)
        yield Hindrance(f"has {many} in its queue, and pre-warms come last", until, is_idle=False)
