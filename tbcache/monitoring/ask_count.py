"""Where each ask of this process is counted, wherever its answer comes from."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Literal

from tbcache.io.fork import renew_in_child
from tbcache.models import Origin
from tbcache.monitoring.caller_usage import CallerUsage
from tbcache.monitoring.popularity import Popularity

#: Where the answer of an ask comes from: from the cache where no script has counted it ("hit"), or as a
#: script has. That of a pending one is counted by whoever fetches it. Nobody has asked for a pre-warm.
AskOrigin = Origin | Literal["hit", "failed", "pending", "prewarm"]

_ONE_HIT = {"hit": 1}


class AskCounts:
    """Counts asks: how often which answer is asked for, who asks, and what was a hit."""

    def __init__(
        self,
        popularity: Popularity,
        callers: CallerUsage,
        count: Callable[[str, Mapping[str, int], int | None], None],
        wake: Callable[[], object],
        today: Callable[[], int],
    ) -> None:
        """``count`` adds to the figures of a source, of today or a day; ``wake`` has :meth:`collect` called
        in a second, or as the day ends before that; ``today`` is the day, since the Unix epoch."""
        self._popularity, self._callers, self._count, self._wake = popularity, callers, count, wake
        self._today = today
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Begin with no hits: at the start, and in a forked child, whose parent counts its own."""
        #: Of each hit in memory that is not among the figures yet, what :meth:`record_in_memory` was told.
        self._in_memory: deque[str] = deque()
        self._is_awaited = False
        #: The day of the first of them; None where that is not known, which is today then.
        self._day: int | None = None

    def record_in_memory(self, key: str) -> None:
        """Count an ask that the memory of this process has answered: what that costs is mostly this.

        ``key`` is as in :meth:`record`; where that would be "", it is the name of the source.
        """
        self._in_memory.append(key)
        if not self._is_awaited:
            self._day = self._today()
            self._is_awaited = True
            self._wake()

    def collect(self) -> None:
        """Add the hits in memory to the figures. Only one thread may do so at a time."""
        # It comes first: whoever appends from now on, too late for this time, calls once more.
        day, self._day, self._is_awaited = self._day, None, False
        take = self._in_memory.popleft
        for key, count in Counter([take() for _ in range(len(self._in_memory))]).items():
            source, colon, _ = key.partition(":")
            self._count(source, {"hit": count}, day)
            if colon:
                self._popularity.record(key, count)

    def record(self, source: str, origin: AskOrigin, key: str = "", caller: str | None = None) -> None:
        """Count one ask of ``source``, of ``caller`` or in the name of this thread or task.

        ``key`` is that of an answer that is kept warm if it is asked for often enough. It is "" where the ask
        itself was counted before, as that for a job is when it is queued, and where nobody asked.
        """
        if key:
            self._popularity.record(key)
        if origin == "hit":
            self._count(source, _ONE_HIT, None)
            self._callers.record(source, "cache", caller)
        elif origin != "pending":
            self._callers.record(source, origin, caller)
