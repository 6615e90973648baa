"""The signals that ask us to stop."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Self

# `make` and terminals may deliver one wish twice; a second one is meant only after this long.
_SAME_SECONDS = 0.3
# A handler does not end a sleep.
_STEP_SECONDS = 0.05


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignal:
    """Set by SIGINT, SIGTERM or SIGHUP inside its block; a second one says that it is urgent."""

    def __init__(self) -> None:
        # A threading.Event would not do: the wait that a handler interrupts may hold its lock.
        self._first_at = 0.0
        self._is_urgent = False

    def __enter__(self) -> Self:
        self._previous = [signal.signal(signum, self._handle) for signum in _SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in zip(_SIGNALS, self._previous, strict=True):
            signal.signal(signum, handler)

    def is_set(self) -> bool:
        return self._first_at > 0.0

    def is_urgent(self) -> bool:
        return self._is_urgent

    def wait(self, seconds: float) -> bool:
        """Let ``seconds`` pass, unless it is set already; True once it is."""
        if not self.is_set():
            time.sleep(seconds)
        return self.is_set()

    def rest(self, seconds: float) -> None:
        """Let ``seconds`` pass, or less where it is set meanwhile."""
        give_up = time.monotonic() + seconds
        while not self.is_set() and (left := give_up - time.monotonic()) > 0:
            time.sleep(min(left, _STEP_SECONDS))

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.is_set() and now > self._first_at + _SAME_SECONDS:
            self._is_urgent = True
        self._first_at = self._first_at or now
