"""What upstreams say of their own limits: until when a source is closed, and how many requests are left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import tbcache.io as io
from tbcache.admission.verdict import Settlement
from tbcache.io.log import get_logger
from tbcache.models import Failure, Limit, RateHint
from tbcache.settings import Source
from tbcache.store.constant import RESET_SLACK_SECONDS
from tbcache.store.wire import to_micros

#: A refusal closes a source for as long as its longest limit at most, or for these seconds where its limits
#: are shorter: rate limits may have windows of a day, and quotas of a month. A later moment is taken for a
#: mistake of the upstream, since the source would stay closed until somebody reopened it.
THROTTLED_SECONDS = 86400.0
QUOTA_SECONDS = 31 * 86400.0

#: A failure may pass :func:`bounded` twice. The clock goes on in between, and the second pass must change
#: nothing.
_SLACK = timedelta(seconds=1)

log = get_logger("tbcache.admission")

#: Turns a moment of this process's wall clock into the server's time (us).
ServerTime = Callable[[datetime], int]


def bounded(source: Source, failure: Failure) -> Failure:
    """``failure``, with a ``retry_at`` that the limits of ``source`` allow.

    A later moment is replaced by the latest that they allow, and the message says so. A moment that has
    passed becomes None, because it does not say when to ask again.
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
    """For how many seconds a refusal of this kind may close the source."""
    longest = max((limit.window_seconds for limit in source.limits), default=0.0)
    return max(longest, QUOTA_SECONDS if kind == "quota" else THROTTLED_SECONDS)


def believed(source: Source, settlement: Settlement) -> Settlement:
    """``settlement``, with moments that the limits of ``source`` allow; a closure that is cut short is
    logged.
    """
    failure, closed_by = settlement.failure, settlement.closed_by
    if failure is None and closed_by is None:
        return settlement
    sound = closed_by and bounded(source, closed_by)
    if closed_by and sound and sound.message != closed_by.message:
        named, until = closed_by.retry_at, sound.retry_at
        log.warning("closure.suspicious", source=source.name, named=f"{named}", until=f"{until}")
    return replace(settlement, failure=failure and bounded(source, failure), closed_by=sound)


def closure_by(closed_by: Failure | None, server_us: ServerTime) -> tuple[int, str]:
    """Until when (us, of the server) the source is closed, and the reason, as settle.lua takes them.

    The moment is 0 where the source is not closed, and -1 where the upstream named none: then the script
    doubles a back-off of its own.
    """
    if closed_by is None:
        return 0, ""
    until = closed_by.retry_at
    return -1 if until is None else server_us(until), closed_by.message


def pack_hints(hints: Iterable[RateHint], limits: Sequence[Limit], server_us: ServerTime) -> str:
    """Pack the hints for settle.lua, each with the length of its window.

    Upstreams do not name the window that a hint is about. It is taken to be the shortest in which its reset
    lies.
    """
    now, by_length = io.utc_now(), sorted(limits, key=lambda limit: limit.window_seconds)
    parts = []
    for hint in hints:
        left = (hint.reset_at - now).total_seconds()
        limit = next((one for one in by_length if left <= one.window_seconds + RESET_SLACK_SECONDS), None)
        if left > 0 and limit is not None:
            span, until = to_micros(limit.window_seconds), server_us(hint.reset_at)
            parts.append(f"{span}:{max(0, hint.remaining)}:{until}")
    return ",".join(parts)
