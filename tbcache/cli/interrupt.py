"""Ctrl-C ends a command, wherever Python is when it comes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from tbcache.cli.exit import INTERRUPTED

if TYPE_CHECKING:
    from sys import UnraisableHookArgs
    from types import FrameType

AGAIN_SECONDS = 0.02
_ENDS = (signal.SIGTERM, signal.SIGHUP)

_Hook: TypeAlias = "Callable[[UnraisableHookArgs], object]"


def end_while_starting() -> None:
    """Until :func:`never_lost`, let Ctrl-C end the process at once; where it is ignored, it stays so.

    A start is imports for the most part. Raised amid one, KeyboardInterrupt may come out as any error that
    the import makes of it, and there is nothing yet that would have to be given back.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    # Not by print: it may be what is interrupted.
    os.write(2, b"tbcache: interrupted\n")
    os._exit(INTERRUPTED)


@contextmanager
def orderly_end() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what runs as Ctrl-C does, and the process as they do.

    What a command has in hand, as the lease of an answer that it loads, is given back: whoever asks for the
    same next would wait until it runs out.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    ended: list[int] = []

    def end(signum: int, frame: FrameType | None) -> NoReturn:
        ended.append(signum)
        raise KeyboardInterrupt

    heeded = [one for one in _ENDS if signal.getsignal(one) is signal.SIG_DFL]
    for one in heeded:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in heeded:
            signal.signal(one, signal.SIG_DFL)
        if ended:
            signal.raise_signal(ended[0])


@contextmanager
def never_lost() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` again where Python dropped it.

    Python drops what is raised in ``__del__`` and in callbacks of the garbage collector, which run at any
    time: an interrupt that comes just then is printed, and the command goes on for ever.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hook, handler = sys.unraisablehook, signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = _again(hook)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, handler)


def _again(hook: _Hook) -> _Hook:
    def report(dropped: UnraisableHookArgs) -> None:
        if dropped.exc_type is KeyboardInterrupt:
            # Later, as here it would be dropped as well.
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        else:
            hook(dropped)

    return report
