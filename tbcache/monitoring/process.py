"""The processes of the fleet, as their heartbeats tell of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tbcache.io import utc_now
from tbcache.models.shape import Shape
from tbcache.models.untrusted import NotJson, printable, read_json
from tbcache.monitoring.heartbeat import PASSING, Heartbeat
from tbcache.settings.profile import Profile, read_profile
from tbcache.store import Store, Unavailable
from tbcache.store.layout import ALIVE_SECONDS, LAYOUT
from tbcache.store.refusal import Refusal, read_refusals
from tbcache.store.reply import pairs

#: For how long a process that is heard of no more stays on the list.
LISTED_SECONDS = 3600.0
#: A scheduler that has gone is missed for longer: nothing else shows that nothing is kept warm.
MISSED_SECONDS = 86_400.0
#: How many jobs of one process are told at most.
MOST_SHOWN = 64
#: How many works of a scheduler.
MOST_FIRES = 16


@dataclass(frozen=True, slots=True)
class WorkerStatus(Shape):
    """A process of the fleet; `age` is the seconds since its last heartbeat."""

    name: str
    role: str
    pid: int
    host: str
    threads: int
    busy: int
    doing: tuple[str, ...]
    started_at: datetime
    beat_at: datetime
    age: float
    is_alive: bool
    """It was heard of a moment ago, or had no time for that since Redis was back."""
    version: str = ""
    layout: int = LAYOUT
    """That of the keys which it reads and writes in Redis."""
    profile: Profile | None = None
    """What it was started with; null where it does not say."""
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    """What Redis refuses it of the keys of a source, by the source's name."""
    pace: Mapping[str, float] = field(default_factory=dict)
    """For how many seconds a job of a queue has a thread, on average; 0 where it has run none yet."""
    memory_bytes: int = 0
    """What it has in memory; 0 of a version that does not say."""
    fires: Mapping[str, datetime] = field(default_factory=dict)
    """When a scheduler does each of its works next."""

    @property
    def is_missed(self) -> bool:
        """True where it is not heard of any more, and is none of those that come and go all day."""
        return not self.is_alive and self.role != PASSING


def mean_pace(workers: Iterable[WorkerStatus], queue: str) -> float:
    """For how many seconds a job of ``queue`` has a thread, by the workers that have run one; 0.0 where none
    has."""
    paces = [pace for one in workers if (pace := one.pace.get(queue, 0.0)) > 0.0]
    return sum(paces) / len(paces) if paces else 0.0


def read_workers(store: Store) -> list[WorkerStatus]:
    """Every process heard of within the hour, the living first."""
    found, forgotten = [], []
    heartbeats = pairs(store.call("HGETALL", store.keys.workers))
    now, absence = utc_now(), store.breaker.absence
    for name, data in heartbeats:
        status = _status(printable(name), data, now, absence)
        kept_seconds = MISSED_SECONDS if status and status.role == "scheduler" else LISTED_SECONDS
        if status is None or status.age > kept_seconds:
            forgotten.append(name)
        elif (status.beat_at - now).total_seconds() <= LISTED_SECONDS:
            # A heartbeat further ahead is not shown, but kept: our clock may be the wrong one.
            found.append(status)
    if forgotten:
        # A user without the right to remove them still sees the others.
        with contextlib.suppress(Unavailable):
            store.call("HDEL", store.keys.workers, *forgotten)
    return sorted(found, key=lambda worker: (not worker.is_alive, worker.role, worker.name))


def _is_alive(age: float, absence: tuple[float, float]) -> bool:
    """While Redis was away nobody could beat: who was there as it went is not missed as soon as it is
    back."""
    lost, returned = absence
    return age < ALIVE_SECONDS or (returned < ALIVE_SECONDS and age - lost < ALIVE_SECONDS)


def _status(name: str, data: bytes | str, now: datetime, absence: tuple[float, float]) -> WorkerStatus | None:
    """What a heartbeat tells; None where it is damaged."""
    try:
        mark = read_json(data, Heartbeat)
        started_at, beat_at = mark.started_at.astimezone(UTC), mark.beat_at.astimezone(UTC)
    except (NotJson, ValueError, OverflowError):
        return None
    age = (now - beat_at).total_seconds()
    return WorkerStatus(
        name=name,
        role=printable(mark.role, 20),
        pid=mark.pid,
        host=printable(mark.host, 80),
        threads=mark.threads,
        busy=mark.busy,
        doing=tuple(printable(one, 80) for one in mark.doing[:MOST_SHOWN]),
        started_at=started_at,
        beat_at=beat_at,
        age=max(0.0, age),
        is_alive=_is_alive(age, absence),
        version=printable(mark.version, 20),
        layout=mark.layout,
        profile=read_profile(mark.profile),
        refused=read_refusals(mark.refused),
        pace=mark.pace,
        memory_bytes=mark.memory_bytes,
        fires={printable(name, 40): at.astimezone(UTC) for name, at in list(mark.fires.items())[:MOST_FIRES]},
    )
