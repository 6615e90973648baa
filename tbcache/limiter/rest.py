"""When a process rests at a source: it beats seldom, and asks in between whether there is news.

So does one that can do nothing without Redis, as a worker: nobody keeps a share for it, and nobody has to
know at once that it is absent. So does one that can, and has taken no slot for a minute: it says with its
beats that it is absent only when it was silent for longer than others. A process rests once every other one
has been told that it is there. What it asks is one question for all sources, and writes nothing: Redis would
keep each beat on its disk.
"""

from __future__ import annotations

from collections.abc import Sequence

import tbcache.io as io
from tbcache.io.fork import renew_in_child
from tbcache.limiter.limiter import limiter_of
from tbcache.limiter.script import SUMMARY, Summarize
from tbcache.store import Store
from tbcache.store.constant import ABSENT_SECONDS

#: A process that rests beats at least so often, and asks so often whether there is news.
REST_SECONDS, NEWS_SECONDS = 5.0, 1.0
#: One that has a share rests when it has taken no slot for so long, and is absent when silent for so long.
IDLE_SECONDS, SILENCE_SECONDS = 60.0, 4.5
#: A process rests when it has been in an epoch for so long: the others beat at least twice in that time.
SETTLED_SECONDS = 2 * REST_SECONDS


class Rest:
    """Of which sources this process rests, and what it has heard of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._limiter = limiter_of(store)
        self._asked_at = 0.0
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Rest nowhere: at the start, and after a fork, as nobody has been told of the child."""
        #: By source: the epoch in force, and the stay in which this process has known it, since when
        #: (monotonic).
        self._since: dict[str, tuple[tuple[str, object], float]] = {}
        self._summaries: dict[str, bytes] = {}

    def on_beat(self, source: str) -> None:
        """Redis has answered a beat for ``source``."""
        known = self._limiter.epochs.of(source), self._limiter.stays.current
        if self._since.get(source, (None, 0.0))[0] != known:
            self._since[source] = known, io.now()

    def is_at(self, source: str) -> bool:
        """Whether this process rests at ``source``."""
        window, (_, since) = self._limiter.process_window(source), self._since.get(source, (None, io.now()))
        is_idle = not window.can_fall_back or window.idle_seconds >= IDLE_SECONDS
        return is_idle and io.now() - since >= SETTLED_SECONDS

    def silence(self, source: str) -> float:
        """For how long this process may be silent before it counts as absent from ``source`` (seconds)."""
        return SILENCE_SECONDS if self._has_share(source) and self.is_at(source) else ABSENT_SECONDS

    def pause(self, source: str) -> float:
        """The seconds between two beats where it rests."""
        return SILENCE_SECONDS / 3 if self._has_share(source) else REST_SECONDS

    def _has_share(self, source: str) -> bool:
        return self._limiter.process_window(source).can_fall_back

    async def news(self) -> list[str]:
        """The sources that this process rests at, and of which a beat would tell something new."""
        at = io.now()
        resting = [source for source in self._limiter.windows.in_use if self.is_at(source)]
        if not resting or at - self._asked_at < NEWS_SECONDS:
            return []
        self._asked_at = at
        # The keys of two sources may be on two nodes.
        together = [[source] for source in resting] if self._store.settings.redis_cluster else [resting]
        return [source for some in together for source in await self._ask(some)]

    async def _ask(self, sources: Sequence[str]) -> list[str]:
        asked_at = io.now()
        windows = [key for source in sources for key in self._limiter.window_keys(source)]
        seen = tuple(self._limiter.epochs.last_seen_us(source) for source in sources)
        found = await self._store.ask(SUMMARY, Summarize(tuple(windows), self._limiter.member, seen))
        await self._store.clock.learn(found.now, asked_at, sources[0])
        summaries = zip(sources, found.summaries, strict=True)
        return [source for source, summary in summaries if self._is_new(source, summary)]

    def _is_new(self, source: str, summary: bytes) -> bool:
        before, self._summaries[source] = self._summaries.get(source), summary
        return not summary or summary != before
