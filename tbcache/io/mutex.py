"""One at a time, where what is done waits for the world outside: no lock of a thread is held meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from tbcache.io.current import world


class Mutex:
    """``async with`` it: whoever comes second waits, in the way of its own world."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """As new: also in a forked child, as another thread of the parent may have held it."""
        self._lock = threading.Lock()
        self._over: Future[None] | None = None

    @property
    def is_held(self) -> bool:
        """True while somebody is in it."""
        return self._over is not None

    async def __aenter__(self) -> None:
        while (before := self._enter()) is not None:
            await world().wait(before)

    async def __aexit__(self, *_: object) -> None:
        with self._lock:
            over, self._over = self._over, None
        if over is not None:
            over.set_result(None)

    def _enter(self) -> Future[None] | None:
        """None for who is in it now; else what the one before sets when it is over."""
        with self._lock:
            if self._over is None:
                self._over = Future()
                return None
            return self._over
