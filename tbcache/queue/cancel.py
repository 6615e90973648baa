"""Jobs that are cancelled while they run."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from dramatiq.middleware.threading import Interrupt, raise_thread_exception

from tbcache.io.fork import renew_in_child
from tbcache.queue.hand import HeldJob


class Cancelled(Interrupt):
    """An operator has cancelled the job: raised in its actor, at the next line of Python that runs there."""


class JobsInHand:
    """The jobs that this process has in hand, and which of its threads run them."""

    def __init__(self) -> None:
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        """Begin with none, as a forked child does."""
        self._lock = threading.Lock()
        self._jobs: dict[bytes, HeldJob] = {}
        self._threads: dict[bytes, int] = {}

    def add(self, job: HeldJob) -> None:
        """The job is in hand."""
        self._jobs[job.claim] = job

    def drop(self, claim: bytes) -> None:
        """It is so no longer."""
        self._jobs.pop(claim, None)

    def begin(self, job: HeldJob) -> None:
        """This thread runs the job."""
        with self._lock:
            self._threads[job.claim] = threading.get_ident()

    def end(self, job: HeldJob) -> None:
        """It does so no longer, and is interrupted for it no more."""
        with self._lock:
            self._threads.pop(job.claim, None)

    def cancel(self, claims: Iterable[bytes]) -> None:
        """Have the jobs of these claims not begin, or be interrupted."""
        for job in filter(None, map(self._jobs.get, claims)):
            job.cancel()
            with self._lock:
                thread = self._threads.pop(job.claim, None)
                if thread is not None:
                    # Dramatiq tells of it in one line, and does not try again.
                    job.options["throws"] = Cancelled
                    raise_thread_exception(thread, Cancelled)  # type: ignore[no-untyped-call]
