"""Ctrl-C ends a command, wherever Python is when it comes."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

AGAIN_SECONDS = 0.02

_Hook: TypeAlias = "Callable[[UnraisableHookArgs], object]"


@contextmanager
def never_lost() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` again where Python dropped it.

    Python drops what is raised in ``__del__`` and in callbacks of the garbage collector, which run at any
    time: an interrupt that comes just then is printed, and the command goes on for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    hook, handler = sys.unraisablehook, signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = _again(hook)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, handler)


def _again(hook: _Hook) -> _Hook:
    def heard(dropped: UnraisableHookArgs) -> None:
        if dropped.exc_type is KeyboardInterrupt:
            # Later, as here it would be dropped as well.
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            hook(dropped)

    return heard
