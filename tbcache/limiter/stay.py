"""When this process is among those that share the limits: it may join, leave and join again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class Stays:
    """The stays of this process in the fleet, one after the other. It does not begin one while it leaves."""

    def __init__(self, is_reached: Callable[[], bool] = lambda: True) -> None:
        """``is_reached`` is true once Redis has answered this process."""
        self._is_reached = is_reached
        self.renew()

    def renew(self) -> None:
        """Begin the first one: at the start, and in a forked child, which is another process."""
        self._lock = threading.Lock()
        self._leaves: set[object] = set()
        self._has_ended = False
        #: The present one, another object each time; None from when this process begins to leave.
        self.current: object | None = object()

    @property
    def has_left(self) -> bool:
        """True from when this process leaves until Redis tells it, in another stay, what is its own: others
        may have what it had. One that has never reached Redis had nothing.
        """
        return self._has_ended and self._is_reached()

    def receive(self, stay: object) -> None:
        """Redis has told what is ours in that stay."""
        with self._lock:
            if stay is self.current:
                self._has_ended = False

    def begin(self) -> bool:
        """Begin one, unless it is there. False where this process is just leaving."""
        with self._lock:
            if self._leaves:
                return False
            self.current = self.current or object()
            return True

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        """End the present one. None begins meanwhile: it would be taken for the one that ends."""
        leave = object()
        try:
            with self._lock:
                self._leaves.add(leave)
                self.current, self._has_ended = None, True
            yield
        finally:
            self._leaves.discard(leave)
