"""How many workers the fleet needs: by Little's law, of the jobs that may run.

A job that waits for its source's limit needs no worker, however many wait with it: so the backlog alone says
nothing. What counts is the rate at which jobs can begin: that at which they come and the backlog is to be
worked off, or the rate that the limits allow, whichever is smaller. At that rate, each thread is busy with a
job for as long as one takes. Jobs come as they have begun of late; what comes beyond that is the backlog.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tbcache.monitoring import WorkerStatus

#: The backlog is to be worked off within so many seconds.
TARGET_SECONDS = 30.0
#: The slots count that come free within so many: an autoscaler looks, and a worker starts meanwhile.
HORIZON_SECONDS = 60.0
#: What is assumed of a job of which nothing is known yet, and of a worker.
JOB_SECONDS, THREADS = 1.0, 8


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """What waits in a source's queue.

    ``runnable`` of the ``waiting`` jobs may begin within the next minute by the limits.
    ``oldest_seconds`` is how long ago the oldest that is next was queued; None where nothing waits. Jobs
    have begun at ``begun_per_second`` of late, may begin at ``admissible_per_second`` (None for any rate),
    and take ``job_seconds``.
    """

    waiting: int
    runnable: int
    running: int
    oldest_seconds: float | None
    begun_per_second: float
    admissible_per_second: float | None
    job_seconds: float

    @property
    def threads_wanted(self) -> float:
        """How many threads would be busy with its jobs."""
        wanted = self.begun_per_second + self.waiting / TARGET_SECONDS
        allowed = math.inf if self.admissible_per_second is None else self.admissible_per_second
        return min(wanted, allowed) * self.job_seconds


@dataclass(frozen=True, slots=True)
class Scale:
    """Of all sources: how many workers are wanted, how many jobs may run, and how old the oldest is."""

    workers_wanted: int
    runnable: int
    oldest_seconds: float | None


def scale_of(loads: Sequence[QueueLoad], workers: Iterable[WorkerStatus]) -> Scale:
    """What ``loads`` come to, with workers of as many threads as those that there are, or were."""
    threads = [one.threads for one in workers if one.role == "worker" and one.threads]
    each = sum(threads) / len(threads) if threads else THREADS
    wanted = math.ceil(round(sum(load.threads_wanted for load in loads) / each, 9))
    # What a worker has in hand needs one until it is over.
    least = 1 if any(load.running for load in loads) else 0
    ages = [load.oldest_seconds for load in loads if load.oldest_seconds is not None]
    return Scale(max(wanted, least), sum(load.runnable for load in loads), max(ages, default=None))
