"""What changed in the last hour: orders, troubles, processes, and errors of a new kind."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tbcache.fleet import Fleet
from tbcache.fleet.change import new_errors
from tbcache.fleet.incident import Incident, Incidents
from tbcache.io import utc_now
from tbcache.monitoring import UsageMonitor, Workload, departure
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.mark import DAY_MINUTES, Marks

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NOON = 20_000 * DAY_MINUTES + 720


@pytest.fixture
def fleet(store: Store, settings: Settings) -> Fleet:
    return Fleet(settings, store)


def kinds(fleet: Fleet, hours: float = 1.0) -> list[tuple[str, str | None]]:
    return [(one.kind, one.source or one.who) for one in fleet.changes(hours)]


def test_what_operators_did_and_which_troubles_there_were_is_told(store: Store, fleet: Fleet) -> None:
    """The last first; what was before the hour is not."""
    now = utc_now()
    for name, began, ended in (("a", 50, 40), ("b", 90, 30), ("c", 95, 80)):
        times = {"began_at": now - began * MINUTE, "seen_at": now, "ended_at": now - ended * MINUTE}
        Incidents(store).add(Incident(name, "closed", "twitter", f"{name} is closed", "wait", **times))  # type: ignore[arg-type]
    fleet.as_operator("ada").pause("twitter", "too dear")
    found = fleet.changes()
    assert [(one.kind, one.what) for one in found] == [
        ("order", "ada: queue.pause twitter: too dear"),
        ("ended", "b is closed"),
        ("ended", "a is closed"),
        ("began", "a is closed"),
    ]
    assert {one.source for one in found} == {"twitter"}
    assert len(fleet.changes(2)) == 7


def test_who_came_and_who_went_is_told(store: Store, settings: Settings, fleet: Fleet) -> None:
    """One that has ended in order, and one that is only not heard of any more. Bots come and go all day."""
    now = utc_now()
    for name, role in (("box-1", "worker"), ("box-2", "worker"), ("bot", "client")):
        monitor = UsageMonitor(store, settings)
        monitor.worker = name
        monitor.beat(role, started_at=now - 2 * HOUR, workload=Workload(threads=1))
        if name != "box-2":
            monitor.leave()
    # Killed, as an API may be that fetches nothing since it is back: its own page said that it was lost.
    UsageMonitor(store, settings).beat("client", started_at=now - 2 * HOUR)
    for name in ("box-2", UsageMonitor(store, settings).worker):
        beat = msgspec.json.decode(store.client.hget(store.keys.workers, name))
        beat["beat_at"] = (now - 9 * MINUTE).isoformat()
        store.client.hset(store.keys.workers, name, msgspec.json.encode(beat))
    store.client.rpush(store.keys.gone, "banana")
    # A key that is damaged tells nothing, and hides nothing else.
    store.client.set(store.keys.audit, "banana", ex=60)
    assert kinds(fleet) == [("left", "box-1"), ("lost", "box-2")]
    assert sorted(kinds(fleet, 3)) == [
        ("came", "box-1"),
        ("came", "box-2"),
        ("left", "box-1"),
        ("lost", "box-2"),
    ]


def test_so_many_departures_are_kept(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet that is scaled up and down all day fills no Redis."""
    monkeypatch.setattr(departure, "MOST", 2)
    for name in ("box-1", "box-2", "box-3"):
        monitor = UsageMonitor(store, settings)
        monitor.worker = name
        monitor.beat("worker", started_at=utc_now(), workload=Workload(threads=1))
        monitor.leave()
    assert store.client.llen(store.keys.gone) == 2
    assert [one.name for one in departure.read_departures(store)] == ["box-3", "box-2"]


def test_errors_of_a_new_kind_are_told_with_when_they_began(
    store: Store, settings: Settings, fleet: Fleet
) -> None:
    """Those that were there the hour before are in every other view."""
    day, errors = NOON // DAY_MINUTES, [(-100, "auth"), (-40, "auth"), (-30, "timeout"), (-9, "timeout")]
    kept, sums = {}, Counter[str]()
    for at in range(-130, 1):
        text = ",".join(f"{name}={count}" for name, count in sums.items())
        kept[str(NOON + at).encode()] = f"{day} {text}".encode()
        sums += Counter({f"error.{kind}": 1 for when, kind in errors if when == at})
    (one,) = new_errors("news", Marks(NOON * 60e6, kept, {day: sums}), HOUR)
    assert (one.what, one.source) == ("news: 2 errors of a new kind, timeout", "news")
    assert one.at == datetime.fromtimestamp((NOON - 30) * 60, UTC)
    monitor = UsageMonitor(store, settings)
    monitor.record_request("news", success=False)
    assert monitor.flush()
    assert kinds(fleet) == [("errors", "news")]
    # Nothing of an hour before is known.
    assert fleet.changes()[0].what.startswith("news: an error, other; whether they are new is not known")


def test_an_error_is_not_called_new_where_the_time_before_is_not_kept() -> None:
    """Redis keeps a day: of the half day before the last 13 hours only a part is there."""
    day, count = NOON // DAY_MINUTES, "error.rate_limit"
    # One each minute since midnight, and each minute of the day before.
    kept = {
        str(at).encode(): f"{at // DAY_MINUTES} {count}={at % DAY_MINUTES}".encode()
        for at in range(NOON - DAY_MINUTES, NOON + 1)
    }
    kept[str(NOON - 9).encode()] += b",error.timeout=0"
    for at in range(NOON - 8, NOON + 1):
        kept[str(at).encode()] += b",error.timeout=1"
    sums = {count: NOON % DAY_MINUTES, "error.timeout": 1}
    marks = Marks(NOON * 60e6, kept, {day: Counter(sums), day - 1: Counter({count: DAY_MINUTES})})
    found = {hours: [one.what for one in new_errors("news", marks, hours * HOUR)] for hours in (12, 13, 24)}
    unknown = "whether they are new is not known, as nothing is kept of before 2024-10-03 12:00 UTC"
    assert found == {
        12: ["news: an error of a new kind, timeout"],
        13: [f"news: an error, timeout; {unknown}"],
        24: [f"news: 1440 errors, rate_limit; {unknown}", f"news: an error, timeout; {unknown}"],
    }
