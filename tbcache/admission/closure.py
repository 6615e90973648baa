"""What an upstream said of its own limits: for how long it is closed, and how much it has left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import tbcache.io as io
from tbcache.admission.verdict import Settlement
from tbcache.io.log import get_logger
from tbcache.models import Failure, Limit, RateHint
from tbcache.settings import Source
from tbcache.store.wire import to_micros

#: Upstreams give the end of a window in whole seconds.
RESET_SLACK = 2.0
#: The longest that a refusal closes a source whose own limits are shorter: windows of a day, quotas
#: of a month. An upstream that names a later moment is not believed.
THROTTLED_SECONDS = 86400.0
QUOTA_SECONDS = 31 * 86400.0

#: The clock goes on while a moment that is bounded already is bounded again.
_SLACK = timedelta(seconds=1)

log = get_logger("tbcache.admission")

#: A moment of our wall clock in the server's time (us).
ServerTime = Callable[[datetime], int]


def bounded(source: Source, failure: Failure) -> Failure:
    """``failure`` with a moment that ``source``'s limits can mean; a later one is said to be a mistake.

    A moment that has passed says nothing of when to ask again, and becomes None.
    """
    now, named = io.utc_now(), failure.retry_at
    if named is None or named <= now:
        return replace(failure, retry_at=None)
    latest = now + timedelta(seconds=_longest(source, failure.kind))
    if named <= latest + _SLACK:
        return failure
    why = f"it named {named:%Y-%m-%d %H:%M} UTC, later than its limits can mean"
    return replace(failure, retry_at=latest, message=f"{failure.message} ({why})")


def _longest(source: Source, kind: str) -> float:
    """For how many seconds a refusal of that kind may hold."""
    longest = max((limit.window_seconds for limit in source.limits), default=0.0)
    return max(longest, QUOTA_SECONDS if kind == "quota" else THROTTLED_SECONDS)


def believed(source: Source, settlement: Settlement) -> Settlement:
    """``settlement`` with moments that ``source``'s limits can mean; one that they cannot is logged."""
    failure, closed_by = settlement.failure, settlement.closed_by
    if failure is None and closed_by is None:
        return settlement
    sound = closed_by and bounded(source, closed_by)
    if closed_by and sound and sound.message != closed_by.message:
        named, until = closed_by.retry_at, sound.retry_at
        log.warning("closure.suspicious", source=source.name, named=f"{named}", until=f"{until}")
    return replace(settlement, failure=failure and bounded(source, failure), closed_by=sound)


def closure_by(closed_by: Failure | None, server_us: ServerTime) -> tuple[int, str]:
    """Until when (us) a source is closed, and why. 0: it is not; -1: by our own back-off."""
    if closed_by is None:
        return 0, ""
    until = closed_by.retry_at
    return -1 if until is None else server_us(until), closed_by.message


def pack_hints(hints: Iterable[RateHint], limits: Sequence[Limit], server_us: ServerTime) -> str:
    """Pack each hint with the window it speaks of: the shortest that its reset lies in."""
    now, by_length = io.utc_now(), sorted(limits, key=lambda limit: limit.window_seconds)
    parts = []
    for hint in hints:
        left = (hint.reset_at - now).total_seconds()
        limit = next((one for one in by_length if left <= one.window_seconds + RESET_SLACK), None)
        if left > 0 and limit is not None:
            span, until = to_micros(limit.window_seconds), server_us(hint.reset_at)
            parts.append(f"{span}:{max(0, hint.remaining)}:{until}")
    return ",".join(parts)
