"""Threads in the background: each outlives every error, and one that died all the same is missed.

An error that nobody foresaw must not end a heartbeat for good: the thread says it, pauses and goes
on. What kills a thread itself (SystemExit, an exception thrown into it, no memory for another) is
noticed by the others, which start it again, and by ``/healthz``, which names it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable

from tbcache.io.description import described
from tbcache.io.fork import renew_in_child

# The logger is the standard library's, as this module stands below `tbcache.io.log`.
log = logging.getLogger("tbcache.io")

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

#: One round of work. It returns the seconds until the next round, or None when nothing is left to do.
Step = Callable[[], float | None]


class BackgroundThread:
    """Calls ``step`` in a daemon thread, round after round, until it is stopped or nothing is left to do.

    After an error the next round waits, 0.1 s at first and twice as long after each further error, 5 s
    at most. A forked child has no thread until it calls :meth:`start` itself.

    ``end`` closes what the rounds have opened for one another: it is called in the thread, as its last act.
    """

    def __init__(self, name: str, step: Step, end: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self._step, self._end = step, end
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self.renew()
        renew_in_child(self)
        _THREADS.add(self)

    @property
    def is_running(self) -> bool:
        """True from :meth:`start` until it is stopped or its work is done; also while it is dead."""
        return self._thread is not None

    @property
    def is_current(self) -> bool:
        """True when asked from within the thread itself."""
        return self._thread is threading.current_thread()

    @property
    def is_dead(self) -> bool:
        """True when it should run and does not."""
        with self._lock:
            return self._thread is not None and not self._thread.is_alive()

    @property
    def is_stopping(self) -> bool:
        """True once it was told to stop, until it is started again."""
        return self._stopping.is_set()

    def start(self, after: float = 0.0) -> bool:
        """Have a round begin: now, or ``after`` so many seconds where the thread does not run yet.

        While it runs, its step is called once more before the thread may end. False where the system allows
        no more threads now.
        """
        with self._lock:
            self._is_wanted = True
            if self._thread is None or not self._thread.is_alive():
                self._begin(after)
            return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout: float = 1.0) -> None:
        """End it after the round that is under way, for which this waits ``timeout`` seconds at most."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._ending = thread or self._ending
            self._stopping.set()
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            thread.join(timeout)

    def pause(self, seconds: float) -> None:
        """Wait inside a step; returns early when the thread is told to stop."""
        self._stopping.wait(max(0.0, seconds))

    def restart(self) -> bool:
        """Start it again if it died; True when it had."""
        with self._lock:
            if self._thread is None or self._thread.is_alive():
                return False
            self._begin(0.0)
        log.error("thread.restarted", extra={"who": self.name})
        return True

    def renew(self) -> None:
        """Begin anew: at the start, and in a forked child, which has none of its parent's threads."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = None
        self._ending = None
        self._is_wanted = False

    def _begin(self, after: float) -> None:
        """Start a thread with an event of its own, so that none stops for another. The lock is held."""
        self._stopping = threading.Event()
        arguments = (self._stopping, after, self._ending)
        thread = self._thread = threading.Thread(
            target=self._run, args=arguments, name=self.name, daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            # The system allows no more threads now: it counts as dead until another starts it.
            log.error("thread.not_started", extra={"who": self.name, "reason": str(error)})

    def _run(self, stopping: threading.Event, after: float, ending: threading.Thread | None) -> None:
        if ending is not None:
            # It may be in the middle of a round or of its end, and no step expects two threads in it.
            ending.join()
        try:
            self._go_on(stopping, after)
        except BaseException as error:
            log.critical("thread.died", extra={"who": self.name, "reason": type(error).__name__})
        finally:
            self._end()

    def _go_on(self, stopping: threading.Event, pause: float | None) -> None:
        back_off = FIRST_PAUSE_SECONDS
        while not stopping.wait(pause):
            self._is_wanted = False
            try:
                pause = self._step()
                back_off = FIRST_PAUSE_SECONDS
            except Exception as error:
                reason = described(error)
                log.exception("thread.failed", extra={"who": self.name, "reason": reason})
                pause, back_off = back_off, min(2 * back_off, LONGEST_PAUSE_SECONDS)
            if pause is None:
                if self._is_done():
                    return
                pause = 0.0
            restart_dead()

    def _is_done(self) -> bool:
        """True when nothing is left to do: nobody called :meth:`start` during the last round."""
        with self._lock:
            if self._is_wanted:
                return False
            if self.is_current:
                # Another that is started now waits for the end of this one.
                self._thread, self._ending = None, self._thread
            return True


def restart_dead() -> list[str]:
    """Start every dead thread again; their names. Each thread does so for the others after its round."""
    return sorted(thread.name for thread in _THREADS.all() if thread.restart())


class _Threads:
    """All that there are."""

    def __init__(self) -> None:
        self._known: weakref.WeakSet[BackgroundThread] = weakref.WeakSet()
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Make the lock: at the start, and in a forked child, where another thread of the parent may hold
        it."""
        self.lock = threading.Lock()

    def add(self, thread: BackgroundThread) -> None:
        with self.lock:
            self._known.add(thread)

    def all(self) -> list[BackgroundThread]:
        with self.lock:
            return list(self._known)


_THREADS = _Threads()
