"""One at a time, where what is done waits for the world outside: no lock of a thread is held meanwhile."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

from tbcache.io.current import world


class Mutex:
    """``async with`` it: who comes later waits, in the way of its own world, and is let in in that order."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """As new: also in a forked child, as another thread of the parent may have held it."""
        self._lock = threading.Lock()
        self._waiting: deque[Future[None]] = deque()
        self.is_held = False

    async def __aenter__(self) -> None:
        if (turn := self._queue_up()) is None:
            return
        try:
            await world().wait(turn)
        except BaseException:
            # It was somebody's turn who is not there any more.
            if self._is_let_in(turn):
                self._let_in_next()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._let_in_next()

    def _queue_up(self) -> Future[None] | None:
        """None for who is let in at once; else what is done when it is its turn."""
        with self._lock:
            if not self.is_held:
                self.is_held = True
                return None
            turn: Future[None] = Future()
            self._waiting.append(turn)
            return turn

    def _is_let_in(self, turn: Future[None]) -> bool:
        """False where ``turn`` had not come, and will not any more."""
        with self._lock:
            if turn not in self._waiting:
                return True
            self._waiting.remove(turn)
            return False

    def _let_in_next(self) -> None:
        with self._lock:
            # One by one: all at once would come back for nothing, as many times as there are of them.
            turn = self._waiting.popleft() if self._waiting else None
            self.is_held = turn is not None
        if turn is not None:
            turn.set_result(None)
