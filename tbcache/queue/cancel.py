"""Jobs that are cancelled while they run."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from dramatiq.middleware import CurrentMessage
from dramatiq.middleware.threading import Interrupt, raise_thread_exception

from tbcache.queue.hand import HeldJob

P = ParamSpec("P")
R = TypeVar("R")


class Cancelled(Interrupt):
    """An operator has cancelled the job: raised in its actor, at the next line of Python that runs there."""


class JobsInHand:
    """The jobs that this process has in hand."""

    def __init__(self) -> None:
        self._jobs: dict[bytes, HeldJob] = {}

    def add(self, job: HeldJob) -> None:
        """The job is in hand."""
        self._jobs[job.claim] = job

    def drop(self, claim: bytes) -> None:
        """It is so no longer."""
        self._jobs.pop(claim, None)

    def cancel(self, claims: Iterable[bytes]) -> None:
        """Have the jobs of these claims not begin, or be interrupted."""
        for job in filter(None, map(self._jobs.get, claims)):
            job.cancel()
            # Its actor is through where the lock is held; one interrupt is enough.
            if job.thread is not None and not job.is_interrupted and job.ending.acquire(blocking=False):
                job.is_interrupted = True
                # Dramatiq tells of it in one line, and does not try again.
                job.options["throws"] = Cancelled
                try:
                    raise_thread_exception(job.thread, Cancelled)  # type: ignore[no-untyped-call]
                finally:
                    job.ending.release()


def interruptible(actor: Callable[P, R]) -> Callable[P, R]:
    """The function of an actor, in which a job that is cancelled is interrupted: anywhere in it, and nowhere
    else in its worker's thread, which may not outlast that."""

    @functools.wraps(actor)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        job: object = CurrentMessage.get_current_message()
        # Where an actor calls another one, the outer call has the thread already, and its end is the job's.
        if not isinstance(job, HeldJob) or job.thread is not None:
            return actor(*args, **kwargs)
        job.thread = threading.get_ident()
        try:
            return actor(*args, **kwargs)
        finally:
            # An interrupt is sent only by who holds this lock. One that was sent before is raised here at the
            # latest; none is sent later, as the lock is never released.
            job.ending.acquire()

    return call
