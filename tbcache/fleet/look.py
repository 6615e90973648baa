"""Looks at what the fleet is doing now, and puts it together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from tbcache.fleet.agreed import Agreed, refusals_of
from tbcache.fleet.directory import Directory
from tbcache.fleet.incident import Incidents
from tbcache.fleet.model import FleetStatus, Lost, QueueStatus, ServerStatus
from tbcache.fleet.scale import JOB_SECONDS, Scale, scale_of
from tbcache.fleet.snapshot import Snapshot, read_snapshot
from tbcache.fleet.source_look import SourceLook
from tbcache.fleet.trouble import server_troubles, troubles
from tbcache.io import now, utc_now
from tbcache.models.untrusted import printable
from tbcache.monitoring import UsageMonitor, WorkerStatus
from tbcache.monitoring.departure import Departure, read_departures
from tbcache.queue import Deaths, Queue
from tbcache.settings import Settings, unconfigured
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.rights import missing_rights
from tbcache.store.state import read_states

#: For how long after its first process, or its server, was started a fleet without a worker is starting.
STARTING_SECONDS = 30.0
#: For how long a dead job is a trouble: what somebody waited for is old by then.
DEAD_SECONDS = 86_400.0
#: Where no right is missing, they are looked for so often.
RIGHTS_SECONDS = 60.0
#: Of the last processes that have left so many are looked at for those that were lost within the hour.
MOST_DEPARTURES = 100
LOST_SHOWN = timedelta(hours=1)


class Look:
    """Looks at everything over one store.

    ``started_at`` is when the process that looks began to start the fleet, if it does.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        monitor: UsageMonitor,
        queue: Queue,
        directory: Directory,
        started_at: datetime | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._queue = queue
        self._directory = directory
        self._source = SourceLook(settings, store, monitor, queue)
        self._started_at = started_at
        self._away_since: datetime | None = None
        self._has_been_there = False
        self._has_rights_until = 0.0

    def status(self, *, is_whole: bool = True) -> FleetStatus:
        """Everything, in a handful of small round trips. Does not raise when Redis is away.

        Else what tells of troubles, for who looks every few seconds: without limits, figures of the day,
        loads and what is kept warm.
        """
        try:
            # Everything can still be read of a server that is full, and nobody can write.
            self._store.probe()
            status = self._look(is_whole=is_whole)
        except Unavailable as error:
            return self._away(error)
        self._has_been_there, self._away_since = True, None
        return status

    def _look(self, *, is_whole: bool) -> FleetStatus:
        workers = self._directory.workers()
        goes_by = self._directory.agreed(workers)
        snapshot = read_snapshot(self._store, goes_by, refusals_of(workers), is_whole=is_whole)
        show = self._source.whole if is_whole else self._source.outline
        status = FleetStatus(
            at=snapshot.at,
            server=ServerStatus(address=self._store.address, is_available=True, **asdict(snapshot.facts)),
            sources=tuple(show(source, snapshot, goes_by) for source in goes_by.sources.values()),
            workers=tuple(workers),
            denied=snapshot.denied,
            missing_rights=self._missing_rights(),
            unwatched=Incidents(self._store).holder().fault,
            is_starting=self._is_starting(snapshot, workers),
            is_told=goes_by.is_told,
            common_symbols=goes_by.symbols,
            queues=tuple(self._plain_queues(goes_by, workers)),
            leader=self._leader(),
            lost=tuple(self._lost(workers, snapshot.at)),
        )
        status = replace(status, troubles=troubles(status, self._deaths(status)))
        return replace(status, scale=_scale(status)) if is_whole else status

    def _missing_rights(self) -> tuple[str, ...]:
        """Where none is missing they are looked for once a minute: that is as much work as all the rest."""
        if now() < self._has_rights_until:
            return ()
        missing = missing_rights(self._store)
        self._has_rights_until = 0.0 if missing else now() + RIGHTS_SECONDS
        return missing

    def _is_starting(self, snapshot: Snapshot, workers: Sequence[WorkerStatus]) -> bool:
        if any(worker.is_alive and worker.role == "worker" for worker in workers):
            return False
        began = [worker.started_at for worker in workers if worker.is_alive and worker.role == "scheduler"]
        if snapshot.facts.uptime_seconds is not None:
            began.append(snapshot.at - timedelta(seconds=snapshot.facts.uptime_seconds))
        if self._started_at is not None:
            began.append(self._started_at)
        return any(abs((snapshot.at - moment).total_seconds()) < STARTING_SECONDS for moment in began)

    def _leader(self) -> str | None:
        try:
            held = self._store.call("GET", self._store.keys.schedule("leader"))
        except Refused:
            # Who may not read that key, or finds it damaged, sees the rest.
            return None
        return printable(held).partition(" ")[2] or None if isinstance(held, bytes) else None

    def _lost(self, workers: Sequence[WorkerStatus], at: datetime) -> list[Lost]:
        followed: list[Departure] = []
        # As of the leader: the rest is seen all the same.
        with contextlib.suppress(Refused):
            followed = [
                one
                for one in read_departures(self._store, MOST_DEPARTURES)
                if one.is_lost and not one.back_at
            ]
        found = [Lost(one.at, one.name, one.role, is_followed=True) for one in followed]
        found += [
            Lost(one.beat_at, one.name, one.role, is_followed=False) for one in workers if one.is_missed
        ]
        late = (one for one in found if at - one.at < LOST_SHOWN)
        return sorted(late, key=lambda one: one.at, reverse=True)

    def _plain_queues(self, goes_by: Agreed, workers: Sequence[WorkerStatus]) -> Iterator[QueueStatus]:
        names = self._directory.plain_names(goes_by)
        states = read_states(self._store, names) if names else {}
        living = [worker for worker in workers if worker.is_alive and worker.role == "worker"]
        served = {name for worker in living for name in worker.pace}
        for name in names:
            depth, pace, load = self._queue.depth(name), goes_by.pace.get(name), None
            # Of a fleet without workers one may serve it. Where some live, more of them would not.
            if pace is not None or not living:
                load = self._source.load(unconfigured(name), depth.running, pace or JOB_SECONDS, may_run=True)
            yield QueueStatus(name, depth, states[name].order, name in served, load)

    def _deaths(self, status: FleetStatus) -> Iterator[Deaths]:
        since = status.at - timedelta(seconds=DEAD_SECONDS)
        for one in status.all_queues:
            # A damaged value tells nothing.
            with contextlib.suppress(Refused):
                found = self._queue.deaths(one.name, since) if one.queue and one.queue.dead else None
                if found is not None:
                    yield found

    def _away(self, error: Unavailable) -> FleetStatus:
        now = utc_now()
        if self._away_since is None and self._has_been_there:
            self._away_since = now
        status = FleetStatus(
            at=now,
            server=ServerStatus(
                address=error.address,
                is_available=False,
                reason=error.reason,
                is_refusing=error.is_refusal,
                is_passing=error.is_passing,
            ),
            sources=tuple(map(self._source.unknown, self._source.sources.values())),
            workers=(),
            common_symbols=self._settings.common_symbols,
        )
        return replace(status, troubles=server_troubles(status, self._away_since))


def _scale(status: FleetStatus) -> Scale:
    return scale_of([one.load for one in status.all_queues if one.load is not None], status.workers)
