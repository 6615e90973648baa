"""What the consumers of one worker have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dramatiq

from tbcache.io import now
from tbcache.queue.bell import Bells
from tbcache.queue.cancel import JobsInHand
from tbcache.queue.end import OnUnanswered
from tbcache.queue.presence import PresenceChannel
from tbcache.queue.thread import Threads
from tbcache.settings import Settings
from tbcache.store import Store

CLAIM_SECONDS = 3.0
#: A worker that is stopped waits for Redis for so long, to say which jobs it has done; containers are killed
#: after 10 s.
STOP_SECONDS = 8.0


@dataclass(slots=True)
class WorkerContext:
    """``claim_seconds`` is for how long a job is a worker's
    that says nothing more; ``actors`` are those that it runs, by name."""

    store: Store
    settings: Settings
    threads: Threads
    actors: Mapping[str, dramatiq.Actor[Any, Any]]
    claim_seconds: float = CLAIM_SECONDS
    _bells: dict[str, Bells] = field(default_factory=dict)
    presence: PresenceChannel = field(init=False)
    jobs: JobsInHand = field(default_factory=JobsInHand)
    on_unanswered: OnUnanswered = lambda source, caller: None
    #: Queues a message that was accepted before, or with another.
    resend: Callable[[dramatiq.Message[Any], int], object] = lambda message, delay_ms: None
    _last_moment: float = -math.inf

    def __post_init__(self) -> None:
        self.presence = self.store.beside(PresenceChannel)

    def last_moment(self) -> float:
        """Until when the consumers of a worker that is stopped wait for Redis, one after another
        (monotonic)."""
        if now() > self._last_moment + STOP_SECONDS:
            self._last_moment = now() + STOP_SECONDS
        return self._last_moment

    def bells_of(self, queue: str) -> Bells:
        """Those of all queues; in a cluster of this one, as no connection blocks for several hash slots."""
        group = queue if self.settings.redis_cluster else ""
        return self._bells.get(group) or self._bells.setdefault(group, Bells(self.store))
