"""Jobs that are cancelled while a worker has them in hand."""

from __future__ import annotations

import threading
from collections.abc import Callable

import dramatiq
from dramatiq.middleware import CurrentMessage

from tbcache.queue.cancel import Cancelled, JobsInHand, interruptible
from tbcache.queue.hand import HeldJob
from tests.server import wait_until


def _job() -> HeldJob:
    return HeldJob(dramatiq.Message("mail", "send", (), {}, {}), b"x/1", is_fetch=False)


def _run(job: HeldJob, actor: Callable[[], object]) -> threading.Thread:
    """A worker's thread, in which the actor of the job is called."""

    def work() -> None:
        CurrentMessage._MESSAGE.set(job)
        actor()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_an_actor_may_call_another() -> None:
    """Each would wait for the other to be through, and the thread stand still for ever."""
    done = []
    inner = interruptible(lambda: done.append(1))
    thread = _run(_job(), interruptible(lambda: inner()))
    thread.join(20)
    assert (thread.is_alive(), done) == (False, [1])


def test_a_job_is_interrupted_once() -> None:
    """Its claim is refused with each renewal, and the last that the actor does is not to be disturbed."""
    job, jobs, seen, is_over = _job(), JobsInHand(), list[int](), threading.Event()

    def actor() -> None:
        for _ in range(2):
            try:
                while not is_over.wait(0.001):
                    pass
            except Cancelled:
                seen.append(1)

    thread = _run(job, interruptible(actor))
    jobs.add(job)
    wait_until(lambda: job.thread is not None)
    jobs.cancel([job.claim])
    wait_until(lambda: seen)
    jobs.cancel([job.claim])
    is_over.set()
    thread.join(20)
    assert (thread.is_alive(), seen) == (False, [1])
    # Dramatiq tells of it in one line, and does not try again.
    assert job.options["throws"] is Cancelled
