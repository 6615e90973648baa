"""When jobs that wait will start, as far as that follows from what is known now."""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tbcache.models import Limit

#: What a job waits for: a slot of a limit; the source, which is closed or paused; a thread of a worker; a
#: worker that has nothing else in hand.
Cause = Limit | Literal["source", "threads", "worker", ""]

#: So many starts are worked out one by one; later ones follow at the pace that the limits and threads allow.
MOST_STEPS = 2_000


@dataclass(frozen=True, slots=True)
class Outlook:
    """What starts depend on; moments are in seconds. ``stamps`` are those of the slots in the window, the
    oldest first, and each stands for ``each`` slots. Nothing starts before ``opens_at``. Of ``threads``,
    ``busy`` are at work, and a job takes ``seconds`` on average.
    """

    now: float
    limits: Sequence[Limit]
    stamps: Sequence[float]
    each: int
    opens_at: float
    threads: int
    busy: int
    seconds: float
    cost: int = 1


class Start(NamedTuple):
    """When a job starts, and what it waits for until then; never (inf), where a limit lets no job through."""

    at: float
    cause: Cause


class Starts:
    """The starts of the jobs of a queue, worked out as far as somebody asks for them."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._steps = _one_by_one(outlook) if outlook.threads > 0 else iter(())
        self._known: list[Start] = []

    def of(self, ahead: int, many: int = 1) -> list[Start | None]:
        """Those of jobs one behind the other, the first of which has so many before it; None where no worker
        has a thread."""
        missing = min(ahead + many, MOST_STEPS) - len(self._known)
        self._known += itertools.islice(self._steps, max(0, missing))
        found: list[Start | None] = [*self._known[ahead : ahead + many]]
        later = range(ahead + len(found), ahead + many)
        return found + self._beyond(later) if later else found

    def _beyond(self, places: range) -> list[Start | None]:
        """Those of jobs behind all that are worked out."""
        if not self._known:
            return [None] * len(places)
        last, pace = self._known[-1], _pace(self._outlook)
        return [last._replace(at=last.at + pace * (ahead + 1 - len(self._known))) for ahead in places]


def _one_by_one(outlook: Outlook) -> Iterator[Start]:
    bounds: list[_Window | _Threads] = [_Window(outlook, limit) for limit in outlook.limits]
    bounds.append(_Threads(outlook))
    at, cause = outlook.now, _NOTHING
    if outlook.opens_at > at:
        at, cause = outlook.opens_at, _SOURCE
    while True:
        for bound in bounds:
            if bound.free_at > at:
                at, cause = bound.free_at, bound.cause
        yield Start(at, cause)
        for bound in bounds:
            bound.take(at + outlook.seconds)


_NOTHING: Cause = ""
_SOURCE: Cause = "source"


class _Window:
    """One limit: a slot is free once the oldest of as many as it allows has left the window."""

    def __init__(self, outlook: Outlook, limit: Limit) -> None:
        self.cause: Cause = limit
        self._span, self._cost = limit.window_seconds, outlook.cost
        self._before = limit.count - outlook.cost + 1
        self._stamps = [stamp for stamp in outlook.stamps for _ in range(outlook.each)]

    @property
    def free_at(self) -> float:
        """When one more job may start."""
        if self._before < 1:
            return math.inf
        at = len(self._stamps) - self._before
        return self._stamps[at] + self._span if at >= 0 else -math.inf

    def take(self, over_at: float) -> None:
        """A job takes its slots, which count from its end."""
        for _ in range(self._cost):
            insort(self._stamps, over_at)


class _Threads:
    """The threads of all workers, as the moments at which they are free."""

    cause: Cause = "threads"

    def __init__(self, outlook: Outlook) -> None:
        # Those at work come free one after the other.
        busy = min(outlook.busy, outlook.threads)
        later = [outlook.now + outlook.seconds * (number + 1) / busy for number in range(busy)]
        self._free = [*([outlook.now] * (outlook.threads - busy)), *later]

    @property
    def free_at(self) -> float:
        return self._free[0]

    def take(self, over_at: float) -> None:
        heapq.heapreplace(self._free, over_at)


def _pace(outlook: Outlook) -> float:
    """How far apart starts are in the long run."""
    by_threads = outlook.seconds / outlook.threads
    by_limits = (
        outlook.cost * (limit.window_seconds + outlook.seconds) / limit.count for limit in outlook.limits
    )
    return max((by_threads, *by_limits))
