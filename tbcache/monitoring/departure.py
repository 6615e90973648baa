"""Who is gone from the fleet: a process that ends takes itself off the list of those that are there. One that
is killed does not: the next of its name finds it there, and says so. One that stood still says so itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from tbcache.io import utc_now
from tbcache.models.decoder import Moment
from tbcache.models.untrusted import NotJson, printable, read_json
from tbcache.monitoring.heartbeat import PASSING, Heartbeat
from tbcache.store import Store

KEPT = timedelta(days=1)
#: A fleet that is scaled up and down all day has a few hundred.
MOST = 500


class Departure(msgspec.Struct, frozen=True):
    """The process ``name``, which was there from ``started_at`` on, left at the moment ``at`` (UTC).

    ``is_lost``: it has not left in order, and was last heard of then; another of its name is there since, or,
    where there is a ``back_at``, it goes on itself from then on.
    """

    at: Moment
    started_at: Moment
    name: str
    role: str
    version: str = ""
    is_lost: bool = False
    back_at: Moment | None = None


def add_departure(
    store: Store,
    name: str,
    last: Heartbeat,
    *,
    is_lost: bool = False,
    back_at: datetime | None = None,
) -> None:
    """Write that the process leaves which has beaten ``last``, or that it ``is_lost``, or was until
    ``back_at``.
    """
    if last.role != PASSING:
        at, key = last.beat_at if is_lost else utc_now(), store.keys.gone
        line = Departure(at, last.started_at, name, last.role, last.version, is_lost, back_at)
        store.change(
            ("RPUSH", key, msgspec.json.encode(line)),
            ("LTRIM", key, -MOST, -1),
            ("EXPIRE", key, int(KEPT.total_seconds())),
        )


def read_departures(store: Store, most: int = MOST) -> list[Departure]:
    """Who has left in the last day, the last first, at most so many; what is damaged is left out."""
    found = store.call("LRANGE", store.keys.gone, -most, -1)
    lines = (line for text in reversed(found) if (line := _read(text)) is not None)
    return [line for line in lines if line.at > utc_now() - KEPT]


def _read(text: bytes) -> Departure | None:
    try:
        found = read_json(text, Departure)
    except NotJson:
        return None
    name, role, version = printable(found.name, 80), printable(found.role, 20), printable(found.version, 20)
    return msgspec.structs.replace(found, name=name, role=role, version=version)
