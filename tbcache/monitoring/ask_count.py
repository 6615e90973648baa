"""Where each ask of this process is counted, wherever its answer comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from tbcache.models import Origin
from tbcache.monitoring.caller_usage import CallerUsage
from tbcache.monitoring.popularity import Popularity

#: Where the answer of an ask comes from: from the memory of this process, or from the cache where no script
#: has counted it ("hit"), or as a script has. That of a pending one is counted by whoever fetches it.
AskOrigin = Origin | Literal["memory", "hit", "failed", "pending"]

_ONE_HIT = {"hit": 1}


class AskCounts:
    """Counts asks: how often which answer is asked for, who asks, and what was a hit."""

    def __init__(
        self, popularity: Popularity, callers: CallerUsage, count: Callable[[str, Mapping[str, int]], None]
    ) -> None:
        """``count`` adds to the figures of a source."""
        self._popularity, self._callers, self._count = popularity, callers, count

    def record(self, source: str, origin: AskOrigin, key: str = "", caller: str | None = None) -> None:
        """Count one ask of ``source``, of ``caller`` or in the name of this thread or task.

        ``key`` is that of an answer that is kept warm if it is asked for often enough. It is "" where the ask
        itself was counted before, as that for a job is when it is queued, and where nobody asked.
        """
        if key:
            self._popularity.record(key)
        if origin == "memory":
            self._count(source, _ONE_HIT)
        elif origin == "hit":
            self._count(source, _ONE_HIT)
            self._callers.record(source, "cache", caller)
        elif origin != "pending":
            self._callers.record(source, origin, caller)
