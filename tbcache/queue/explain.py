"""Where a job stands, which limit it waits for, and when it will start."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import NamedTuple

from tbcache.io import world
from tbcache.limiter import limiter_of
from tbcache.models import Limit
from tbcache.models.job import Explanation
from tbcache.models.untrusted import moment, printable
from tbcache.monitoring.process import mean_pace, read_workers
from tbcache.queue.end import MOST_TRIES
from tbcache.queue.estimate import Cause, Outlook, Start, Starts
from tbcache.queue.job import UNKNOWN
from tbcache.queue.script import EXPLAIN, Explain, Explained, Stand, queue_keys
from tbcache.settings import Settings, Source, get_declared, get_source, source_names, unconfigured
from tbcache.store import Store
from tbcache.store.wire import MICROS, pack_limits, read_limits, to_time

#: Of so many jobs is asked in one call.
MOST_IDS = 500
#: The lanes in which a job waits.
WAITING = ("interactive", "prewarm", "suspects")


class QueueWorkers(NamedTuple):
    """The workers that take jobs of a queue: how many, their threads, the busy ones, how long a job has a
    thread (seconds), and how many of the workers have nothing in hand."""

    workers: int
    threads: int
    busy: int
    seconds: float
    idle: int


class Prospect:
    """What is known of a queue at a moment, from which the starts of its jobs follow."""

    def __init__(self, found: Explained, crew: QueueWorkers, source: Source, settings: Settings) -> None:
        self.found, self.crew = found, crew
        self._source, self._settings = source, settings

    @property
    def stands(self) -> Iterator[Stand]:
        """Where each of the jobs stands that were asked about, in their order."""
        for stand in self.found.jobs:
            for later in range(stand.many):
                yield stand._replace(place=stand.place + later, many=1)

    def start_of(self, stand: Stand) -> Start | None:
        """When a job that waits will start; None where no worker takes it."""
        return self._starts_of(stand)[0]

    def moment_of(self, stand: Stand) -> datetime | None:
        """When a job starts, is due, or began; None where that is not known, as of one that no worker so far
        can run: it is put off again when it is due."""
        if stand.state in WAITING:
            return _moment_of(self.start_of(stand))
        if stand.state == "delayed" and UNKNOWN in stand.reason:
            return None
        return to_time(stand.at) if stand.at else None

    def cause_of(self, stand: Stand) -> str:
        """What a job waits for, or why it was put off, in a few words; "" of any other."""
        if stand.state == "delayed":
            stop = f"; the queue is {self.found.reason}" if self.found.is_stopped else ""
            return f"{_why_delayed(stand, self.found.now)}{stop}"
        if stand.state in WAITING:
            return _words(self.start_of(stand), self.found, stand)
        return ""

    def starts_after_queueing(self) -> Iterator[datetime | None]:
        """When each of the jobs starts, which were just queued, if it has not by now; None where no worker
        takes it."""
        for stand in self.found.jobs:
            if stand.state in WAITING:
                yield from map(_moment_of, self._starts_of(stand))
            elif stand.at:
                yield self.moment_of(stand)
            else:
                # It comes after a running job, which may have just begun.
                seconds = self.crew.seconds if stand.state == "follows" else 0.0
                yield to_time(self.found.now + seconds * MICROS)

    def _starts_of(self, stand: Stand) -> Sequence[Start | None]:
        """When the jobs will start that stand there and wait."""
        ahead = stand.place + (self.found.suspects if stand.state != "suspects" else 0)
        if stand.state == "prewarm":
            return self._prewarm_starts.of(ahead + self.found.interactive, stand.many)
        starts = self._starts.of(ahead, stand.many)
        if stand.state == "suspects" and not self.crew.idle:
            return [one if one is None or _is_held_up(one) else _ALONE for one in starts]
        return starts

    @cached_property
    def _starts(self) -> Starts:
        return Starts(self._outlook)

    @cached_property
    def _prewarm_starts(self) -> Starts:
        part = self._settings.prewarm_share
        limits = [replace(one, count=max(1, int(one.count * part))) for one in self._outlook.limits]
        return Starts(replace(self._outlook, limits=limits))

    @cached_property
    def _outlook(self) -> Outlook:
        found, crew = self.found, self.crew
        now = found.now / MICROS
        elsewhere = max(0, crew.busy - found.in_hand)
        return Outlook(
            now=now,
            limits=read_limits(found.limits),
            stamps=sorted(self._committed(stamp / MICROS, now) for stamp in found.stamps),
            each=found.each,
            opens_at=found.retry_at / MICROS,
            threads=0 if found.is_stopped else max(min(1, crew.workers), crew.threads - elsewhere),
            busy=found.in_hand,
            seconds=crew.seconds,
            cost=self._source.cost,
        )

    def _committed(self, stamp: float, now: float) -> float:
        """The stamp of a slot; of one that is held, what it will be once its job is over."""
        return stamp if stamp <= now else max(now, stamp - self._settings.lease_seconds + self.crew.seconds)


#: Nobody knows when a worker has nothing else in hand.
_ALONE = Start(math.inf, "worker")


def _is_held_up(start: Start) -> bool:
    """Whether a worker with nothing in hand could not begin the job either."""
    return start.cause not in ("threads", "")


async def prospect_of(store: Store, settings: Settings, source: Source, ids: Sequence[str]) -> Prospect:
    """What is known of a queue, and of some of its jobs. ``source`` has no limits where nothing paces it."""
    found = await _ask(store, source, ids[:MOST_IDS])
    for at in range(MOST_IDS, len(ids), MOST_IDS):
        more = await _ask(store, source, ids[at : at + MOST_IDS])
        found = found._replace(jobs=found.jobs + more.jobs)
    crew = await world().offload(lambda: crew_of(store, source.name))
    return Prospect(found, crew, source, settings)


async def explain(store: Store, settings: Settings, source: Source, job_id: str) -> Explanation:
    """What is known of one job."""
    prospect = await prospect_of(store, settings, source, [job_id])
    (stand,), crew = prospect.stands, prospect.crew
    is_waiting = stand.state in WAITING
    return Explanation(
        queue=source.name,
        job_id=job_id,
        state="waiting" if is_waiting else stand.state,
        lane=stand.state if is_waiting else None,
        place=stand.place + 1 if is_waiting else None,
        cause=prospect.cause_of(stand),
        starts_at=prospect.moment_of(stand),
        workers=crew.workers,
        threads=crew.threads,
        busy=crew.busy,
    )


def pacing_source(queue: str, settings: Settings) -> Source:
    """The source that paces a queue, as far as this process knows; one without limits where it knows none."""
    declared = get_declared().get(queue)
    if declared is not None:
        return declared.source
    return get_source(queue, settings) if queue in source_names(settings) else unconfigured(queue)


async def _ask(store: Store, source: Source, ids: Sequence[str]) -> Explained:
    window = limiter_of(store).window_keys(source.name)
    limits = pack_limits(source.limits)
    return await store.ask(
        EXPLAIN, Explain(queue_keys(store.keys, source.name), window, limits, source.cost, tuple(ids))
    )


def crew_of(store: Store, queue: str) -> QueueWorkers:
    """The living workers that take jobs of ``queue``."""
    found = [worker for worker in read_workers(store) if worker.is_alive and queue in worker.pace]
    return QueueWorkers(
        len(found),
        sum(worker.threads for worker in found),
        sum(worker.busy for worker in found),
        mean_pace(found, queue),
        sum(not worker.busy for worker in found),
    )


def _moment_of(start: Start | None) -> datetime | None:
    return None if start is None or math.isinf(start.at) else _moment_at(start.at)


# Many jobs start at once, or are told so.
@lru_cache(maxsize=1)
def _moment_at(at: float) -> datetime:
    return to_time(at * MICROS)


def _why_delayed(stand: Stand, now: int) -> str:
    """Why a job is put off, as it was recorded then; see ``reasons`` in queue.lua."""
    at, is_try, words = (*stand.reason.split(" ", 2), "", "")[:3]
    put_off_at = moment(at)
    if put_off_at is None or not words:
        return "a delay was asked for"
    is_today = put_off_at.date() == to_time(now).date()
    when = f"{put_off_at:%H:%M:%S} UTC" if is_today else f"{put_off_at:%Y-%m-%d %H:%M:%S} UTC"
    if is_try == "1":
        return f"try {stand.tries} of {MOST_TRIES} failed at {when}: {printable(words)}"
    return f"{printable(words)} (at {when})"


def _words(start: Start | None, found: Explained, stand: Stand) -> str:
    """What a job waits for."""
    if found.is_stopped:
        return f"an operator, as it is {found.reason}"
    if start is None:
        return "a worker: none takes jobs of this queue"
    cause: Cause = start.cause
    if isinstance(cause, Limit):
        # Pre-warms have a part of it: what is in force is what people know it by.
        count = next(
            one.count for one in read_limits(found.limits) if one.window_seconds == cause.window_seconds
        )
        part = f", of which pre-warms have {cause.count}" if stand.state == "prewarm" else ""
        never = ", which lets no job through" if math.isinf(start.at) else ""
        return f"a slot of the limit {count} per {cause.window_seconds:g} s{part}{never}"
    others = {
        "source": found.reason,
        "threads": "a thread of a worker",
        "worker": "a worker that has nothing else in hand, as its workers died twice",
        "": "",
    }
    return others[cause]
