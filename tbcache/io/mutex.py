"""A mutex for coroutines of every driver: no lock of a thread is held while its holder waits for I/O."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

from tbcache.io.current import world
from tbcache.io.fork import renew_in_child


class Mutex:
    """Use it with ``async with``. Later ones wait, as their driver does, and enter in the order they came."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Begin anew: at the start, and in a forked child, where another thread of the parent may hold it."""
        self._lock = threading.Lock()
        self._waiting: deque[Future[None]] = deque()
        self.is_held = False

    async def __aenter__(self) -> None:
        if (turn := self._queue_up()) is None:
            return
        try:
            await world().wait(turn)
        except BaseException:
            # The turn of a caller that is not there any more goes to the next.
            if self._is_let_in(turn):
                self._let_in_next()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._let_in_next()

    def _queue_up(self) -> Future[None] | None:
        """None when the caller enters at once; else a future that is done when it is its turn."""
        with self._lock:
            if not self.is_held:
                self.is_held = True
                return None
            turn: Future[None] = Future()
            self._waiting.append(turn)
            return turn

    def _is_let_in(self, turn: Future[None]) -> bool:
        """True where ``turn`` has come; where it has not, it is given up."""
        with self._lock:
            if turn not in self._waiting:
                return True
            self._waiting.remove(turn)
            return False

    def _let_in_next(self) -> None:
        with self._lock:
            # They are woken one by one: of all at once, all but one would wait again.
            turn = self._waiting.popleft() if self._waiting else None
            self.is_held = turn is not None
        if turn is not None:
            turn.set_result(None)
