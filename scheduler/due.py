"""Which fetches of the common symbols are due. Nothing here asks Redis or a clock."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tbcache.models import FetchRequest
from tbcache.settings import Source
from tbcache.store.wire import MICROS

TICK_SECONDS = 5.0
#: A refresh is due in this last part of an answer's life. The exact moment differs by answer, so that answers
#: that came together are not refreshed together.
SPREAD_PART = 0.2
#: A request for several symbols includes those whose answers have at most this part of their life left.
ALONG_PART = 0.5


@dataclass(frozen=True, slots=True)
class Due:
    """A fetch that is due. An answer that is fresh for ``needed`` more seconds makes it unnecessary."""

    request: FetchRequest
    needed: float


class Look(NamedTuple):
    """The state of an answer in Redis: until when it is fresh, and until when its last failure backs off
    (us).

    Either is 0 where there is no such moment.
    """

    request: FetchRequest
    fresh_until: int
    retry_at: int


def due_of(source: Source, looks: Sequence[Look], now_us: int) -> Iterator[Due]:
    """The fetches that are due, in as few requests as the source allows."""
    able = [look for look in looks if look.retry_at <= now_us]
    if source.is_packed:
        yield from (Due(look.request, 0.0) for look in able if not look.fresh_until)
        yield from _packed(source, [look for look in able if look.fresh_until], now_us)
        return
    for look in able:
        needed = needed_of(source, look.request, look.fresh_until, now_us)
        if needed is not None:
            yield Due(look.request, needed)


def needed_of(source: Source, request: FetchRequest, fresh_until: int, now_us: int) -> float | None:
    """For how many seconds a new answer must be fresh; None where the present one is fresh for long
    enough.
    """
    if not fresh_until:
        return 0.0
    left = (fresh_until - now_us) / MICROS
    part = zlib.crc32(f"{request.key}{fresh_until}".encode()) / 2**32
    if left > _margin(source) + part * SPREAD_PART * source.cache_ttl:
        return None
    return max(0.0, left) + 1.0


def _packed(source: Source, looks: Sequence[Look], now_us: int) -> Iterator[Due]:
    """Jobs for several symbols each, once one symbol is due.

    The leader of a job has the least life left. ``needed`` is more than any of its symbols has left, so that
    none of them is a hit.
    """
    ranked = sorted((max(0.0, (look.fresh_until - now_us) / MICROS), look.request.symbol) for look in looks)
    along = [one for one in ranked if one[0] <= ALONG_PART * source.cache_ttl]
    if not along or along[0][0] > _margin(source):
        return
    requests = {look.request.symbol: look.request for look in looks}
    for start in range(0, len(along), source.pack):
        chunk = along[start : start + source.pack]
        leader, *others = (symbol for _, symbol in chunk)
        yield Due(replace(requests[leader], others=tuple(others)), chunk[-1][0] + 1.0)


def _margin(source: Source) -> float:
    return min(3 * TICK_SECONDS, source.cache_ttl / 4)
