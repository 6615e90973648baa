"""A queued job: in which state it can be, where it stands, and which errors put it off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tbcache.models.error import RateLimited, UpstreamError
from tbcache.models.shape import Shape

#: running: a worker has it. waiting: in a lane, for a thread and for its limit. delayed: put off until it is
#: due. follows: it comes after a running job of the same fetch.
JobState = Literal["running", "waiting", "delayed", "follows"]

#: What becomes of an ask for a job: its answer is in the cache, its fetch was queued already, it is queued
#: now, an operator drains the queue, the dead letter that it was is none any more, or its leader leads no
#: more.
EnqueueState = Literal["hit", "joined", "queued", "refused", "gone", "fenced", "late"]


@dataclass(frozen=True, slots=True)
class Explanation(Shape):
    """Where a job stands, what it waits for, and when it will start."""

    queue: str
    job_id: str
    state: str
    """`waiting`, `delayed`, `running`, `follows` a running job of the same fetch, `dead`, or `over`, as is
    what was never queued: of that Python alone is told so, as the API answers 404."""
    lane: str | None
    """`interactive`, `prewarm` or `suspects`."""
    place: int | None
    """In its lane, from 1."""
    cause: str
    """What it waits for, or why it was put off, in a few words."""
    starts_at: datetime | None
    """By what is known now; of a delayed one when it is due, of a running one when it began. Null if nobody
    knows: no worker takes the queue's jobs, or an operator has paused it."""
    workers: int
    """How many take jobs of its queue."""
    threads: int
    """Those of all of them."""
    busy: int
    """How many of the threads have a job of any queue."""

    @property
    def is_there(self) -> bool:
        """False of a job that is over, or was never queued."""
        return self.state != "over"

    def __str__(self) -> str:
        crew = f"{self.workers} workers with {self.threads} threads, {self.busy} of them busy"
        return f"{self.queue} {self.job_id}: {self._what}; {crew}"

    @property
    def _what(self) -> str:
        at = "" if self.starts_at is None else f"{self.starts_at:%Y-%m-%d %H:%M:%S} UTC"
        if self.state == "waiting":
            when = f"starts at about {at}" if at else "and nobody knows when it starts"
            cause = f", waits for {self.cause}" if self.cause else ""
            return f"place {self.place} in the lane {self.lane}{cause}, {when}"
        if self.state == "delayed":
            return f"put off{f' until {at}' if at else ''}: {self.cause}"
        if self.state == "running":
            return f"running since {at}" if at else "running"
        return {"follows": "comes after a running job of the same fetch", "dead": "dead"}.get(
            self.state, "over, or never queued"
        )


def comes_again(error: BaseException, *, is_awaited: bool) -> bool:
    """Whether a job that met ``error`` is put off: by a limit until there is a slot, by what may pass for
    another try. ``is_awaited``: it is no pre-warm, which comes again by itself."""
    if isinstance(error, RateLimited):
        return True
    return isinstance(error, UpstreamError) and error.transient and is_awaited
