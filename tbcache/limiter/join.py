"""How this process joins the fleet of a source, before it takes the first slot of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tbcache.io import Mutex
from tbcache.limiter.ask import TRIES, Want
from tbcache.limiter.broken import Unheard
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.stay import Stays
from tbcache.limiter.window import Windows
from tbcache.store import Store

UNHEARD = "Redis does not know yet what another process of this machine has sent"


class Joining:
    """Has Redis know of this process, and of how it takes slots, before it takes the first one."""

    def __init__(self, store: Store, windows: Windows, stays: Stays) -> None:
        self._store, self._windows, self._stays = store, windows, stays
        self._beat: Callable[[str], Awaitable[None]] | None = None
        self._joining = Mutex()

    @property
    def is_possible(self) -> bool:
        """False before the first :meth:`by`, and from when this process leaves until it begins again."""
        return self._beat is not None and self._stays.current is not None

    def by(self, beat: Callable[[str], Awaitable[None]]) -> None:
        """Call ``beat`` with the name of a source before this process first asks for its slots."""
        self._beat = beat

    def is_over(self, want: Want, window: ProcessWindow) -> bool:
        """True where Redis knows all that it has to know before this ask."""
        if not self._store.is_ready():
            return False
        self._windows.join_machine(want.source)
        return not window.must_announce(want.can_fall_back) or not self.is_possible

    async def before(self, want: Want, window: ProcessWindow) -> None:
        """Join, where what is wanted needs it."""
        await self._store.ready()
        async with self._joining:
            for _ in range(TRIES):
                # Where many asks come first at the same time, one of them does it for all.
                if self.is_over(want, window):
                    return
                await self.now(want.source)
        if not self.is_over(want, window):
            # No beat was carried out in time.
            raise self._store.breaker.overdue()

    def await_others(self, source: str) -> None:
        """See that Redis knows what the other processes of this machine have sent, before it first hears of
        this one.

        One that began while it could not reach Redis has gone by the whole limit, and stops as it sees that
        this process is there. Until Redis knows it, or what it has sent is old, this process takes nothing.

        Raises:
          Unavailable: the server is away. Refused: Redis does not know it yet.
        """
        self._windows.broken.check(source)
        if self._windows.has_unheard(source):
            error = Unheard(self._store.address, UNHEARD)
            self._windows.broken.add(source, error)
            raise error

    async def now(self, source: str) -> None:
        """Join once more, unless this process has left."""
        if self._beat is not None and self.is_possible:
            await self._beat(source)
