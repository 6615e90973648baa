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

from tbcache.models.shape import Shape
from tbcache.monitoring import WorkerStatus

#: The backlog is to be worked off within so many seconds.
TARGET_SECONDS = 30.0
#: The slots count that come free within so many: an autoscaler looks, and a worker starts meanwhile.
HORIZON_SECONDS = 60.0
#: What is assumed of a job of which nothing is known yet, and of a worker.
JOB_SECONDS, THREADS = 1.0, 8


@dataclass(frozen=True, slots=True)
class QueueLoad(Shape):
    """What waits in a source's queue, and how fast it may go."""

    waiting: int
    runnable: int
    """How many of them may begin within a minute by the limits."""
    running: int
    oldest_seconds: float | None
    """The age of the oldest of those that are next; null where nothing waits."""
    begun_per_second: float
    """Of late."""
    admissible_per_second: float | None
    """By the limits; null for any rate."""
    job_seconds: float
    """How long a job takes, on average."""

    @property
    def threads_wanted(self) -> float:
        """How many threads would be busy with its jobs."""
        wanted = self.begun_per_second + self.waiting / TARGET_SECONDS
        allowed = math.inf if self.admissible_per_second is None else self.admissible_per_second
        return min(wanted, allowed) * self.job_seconds


@dataclass(frozen=True, slots=True)
class Scale(Shape):
    """How many workers the fleet needs; a job that waits for its source's limit needs none."""

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
