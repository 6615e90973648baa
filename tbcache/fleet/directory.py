"""The names that the fleet knows: its sources, and the queues of users' own actors."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TypeVar

from tbcache.fleet.agreed import Agreed, agreed
from tbcache.models.error import UnknownSource
from tbcache.monitoring import UsageMonitor, WorkerStatus
from tbcache.settings import Settings, is_name
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.name import Names


class Directory:
    """Which sources and queues there are, by the reports of the processes and by what was used of late.

    While Redis is away it raises Unavailable; a name that is not there, where it is checked, UnknownSource.
    """

    def __init__(self, settings: Settings, store: Store, monitor: UsageMonitor) -> None:
        self._settings, self._store, self._monitor = settings, store, monitor
        self._queues = Names(store, store.keys.queues)

    def workers(self) -> list[WorkerStatus]:
        return sure(self._store, self._monitor.get_workers())

    def agreed(self, workers: Sequence[WorkerStatus]) -> Agreed:
        """The settings of the fleet, as ``workers`` have reported them."""
        return agreed(self._settings, sure(self._store, self._monitor.get_source_names()), workers)

    def names(self, only: str | None = None) -> list[str]:
        """The sources that the fleet knows, and those that somebody has used by name; or one."""
        known = list(self.agreed(self.workers()).sources)
        if only is not None and only not in known:
            raise UnknownSource(only, known)
        return known if only is None else [only]

    def source_name(self, name: str) -> str:
        """Check the name of a source; one that only others have declared or used is known as well."""
        return self.names(name)[0]

    def queue_names(self, only: str | None = None) -> list[str]:
        """The sources, as :meth:`names` has them, and after them the queues of users' own actors; or one."""
        if only is not None:
            return [self.queue_name(only)]
        goes_by = self.agreed(self.workers())
        return [*goes_by.sources, *self.plain_names(goes_by)]

    def queue_name(self, name: str) -> str:
        """Check the name of a source, or of a queue that has been used of late."""
        goes_by, keys = self.agreed(self.workers()), self._store.keys
        known = [*goes_by.sources, *self.plain_names(goes_by)]
        if name in known:
            return name
        parts = [keys.queue(name, part) for part in ("asked", "jobs", "dead")] if is_name(name) else []
        if not parts or not self._store.call("EXISTS", *parts):
            raise UnknownSource(name, known)
        return name

    def plain_names(self, goes_by: Agreed) -> list[str]:
        """The queues that are no source's: those that workers tell of, and those that somebody has used."""
        used = {*goes_by.pace}
        # Who may not read these names, or finds them damaged, sees the rest.
        with contextlib.suppress(Refused):
            used.update(self._queues.all())
        return sorted(name for name in used if name not in goes_by.sources and is_name(name))


T = TypeVar("T")


def sure(store: Store, found: T) -> T:
    """``found``, unless Redis went away as it was read: then it is a stand-in, and this
    raises Unavailable."""
    if not store.is_available:
        # Says why, unless it is time to ask again.
        store.check()
        raise Unavailable(store.address, "it went away")
    return found
