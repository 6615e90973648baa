"""When an answer that is kept warm is fetched anew. Nothing here asks Redis or a clock."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tbcache.models import FetchRequest
from tbcache.settings import Source
from tbcache.settings.capacity import lead_of
from tbcache.store.wire import MICROS

#: A request for several symbols includes those whose answers have at most this part of their life left.
ALONG_PART = 0.5
#: By at most this part of a life refreshes are begun earlier, so that those of answers that came together do
#: not come together.
SPREAD_PART = 0.5


@dataclass(frozen=True, slots=True)
class Due:
    """A fetch that is due in ``delay`` seconds. An answer that is then fresh for ``needed`` more seconds
    makes it unnecessary.
    """

    request: FetchRequest
    needed: float = 0.0
    delay: float = 0.0


class Freshness(NamedTuple):
    """The state of an answer in Redis: until when it is fresh, and until when its last failure backs off
    (us). Either is 0 where there is no such moment.

    ``rest`` is for how many seconds after it has expired nobody needs a new one.
    """

    request: FetchRequest
    fresh_until: int
    retry_at: int
    rest: float = 0.0

    def is_resting(self, now_us: int) -> bool:
        """Whether the answer has expired, and nobody needs a new one yet."""
        return self.fresh_until <= now_us < self.fresh_until + self.rest * MICROS


class _Life(NamedTuple):
    """Seconds from now: until when an answer is fresh, and when the next one is wanted."""

    request: FetchRequest
    left: float
    end: float


def due_of(
    source: Source, looks: Sequence[Freshness], now_us: int, horizon: float, pace: float = 0.0
) -> Iterator[Due]:
    """The fetches that are due within ``horizon`` seconds, in as few requests as the source allows.

    Whoever asks again before the horizon is over misses none. ``pace`` is how many seconds there are to be
    between two. What was never fetched is due now, and comes last, in the order of ``looks``.
    """
    able = [look for look in looks if look.retry_at <= now_us]
    lives = sorted((_life(look, now_us) for look in able if look.fresh_until), key=lambda one: one.end)
    ways = _packed(source, lives, horizon) if source.is_packed else _singly(source, lives, horizon, pace)
    yield from ways
    yield from (Due(look.request) for look in able if not look.fresh_until)


def latest_starts(ends: Sequence[float], gap: float) -> list[float]:
    """The latest moments, ``gap`` apart, each of which is no later than its end; ``ends`` ascend."""
    starts, start = [], math.inf
    for end in reversed(ends):
        start = min(end, start - gap)
        starts.append(start)
    return starts[::-1]


def _life(look: Freshness, now_us: int) -> _Life:
    left = (look.fresh_until - now_us) / MICROS
    return _Life(look.request, left, left + look.rest)


def _singly(source: Source, lives: Sequence[_Life], horizon: float, pace: float) -> Iterator[Due]:
    # Where there is no room for that pace they are spread as far as the bound allows.
    gap = min(pace, SPREAD_PART * source.cache_ttl / max(1, len(lives)))
    starts = latest_starts([life.end - lead_of(source) for life in lives], gap)
    for life, start in zip(lives, starts, strict=True):
        if start <= horizon:
            yield _due(life.request, life.left, max(0.0, start))


def _packed(source: Source, lives: Sequence[_Life], horizon: float) -> Iterator[Due]:
    """Jobs for several symbols each, once one symbol is due.

    The leader of a job has the least life left. ``needed`` is more than any of its symbols has left, so that
    none of them is a hit.
    """
    start = max(0.0, lives[0].end - lead_of(source)) if lives else math.inf
    if start > horizon:
        return
    along = [life for life in lives if life.end - start <= ALONG_PART * source.cache_ttl]
    for first in range(0, len(along), source.pack):
        leader, *others = along[first : first + source.pack]
        request = replace(leader.request, others=tuple(other.request.symbol for other in others))
        yield _due(request, max(life.left for life in (leader, *others)), start)


def _due(request: FetchRequest, left: float, delay: float) -> Due:
    """An answer of which ``left`` seconds of life are left now makes the fetch no less necessary."""
    return Due(request, max(0.0, left - delay) + 1.0, delay)
