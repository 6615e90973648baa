"""What an upstream said of its own limits: for how long it is closed, and how much it has left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import tbcache.io as io
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

log = get_logger("tbcache.admission")

#: A moment of our wall clock in the server's time (us).
ServerTime = Callable[[datetime], int]


def closed_seconds(source: Source, closed_by: Failure) -> float:
    """For how long the upstream's word closes ``source``: no longer than its limits can mean."""
    longest = max(limit.window_seconds for limit in source.limits)
    most = max(longest, QUOTA_SECONDS if closed_by.kind == "quota" else THROTTLED_SECONDS)
    wanted = 0.0 if closed_by.retry_at is None else (closed_by.retry_at - io.utc_now()).total_seconds()
    return min(wanted, most)


def closure_by(source: Source, closed_by: Failure | None, server_us: ServerTime) -> tuple[int, str]:
    """Until when (us) a source is closed, and why. 0: it is not; -1: by our own back-off."""
    if closed_by is None:
        return 0, ""
    if closed_by.retry_at is None:
        return -1, closed_by.message
    seconds = closed_seconds(source, closed_by)
    until, reason = io.utc_now() + timedelta(seconds=seconds), closed_by.message
    if closed_by.retry_at > until + timedelta(seconds=1):
        named = f"{closed_by.retry_at:%Y-%m-%d %H:%M} UTC"
        log.warning("closure.suspicious", source=source.name, named=named, until=until.isoformat())
        reason = f"{reason} (it named {named}, later than its limits can mean)"
    return server_us(until), reason


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
