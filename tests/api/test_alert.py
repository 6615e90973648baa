"""What the command line tells a program, HTTP tells too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
from starlette.testclient import TestClient

from tbcache.fleet import Fleet, Incident
from tbcache.fleet.incident import Incidents, Terms
from tbcache.io import utc_now
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store
from tests.api.test_job import pages_of
from tests.kept import keep
from tests.server import Server

#: What is called otherwise over HTTP.
OTHERS = {"count": "allowed", "kept": "/api/symbols", "request": "its symbol and hours are there"}


def names_in(found: Any) -> Iterator[str]:
    """The names of all fields."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield name
            yield from () if name == "request" else names_in(value)
    elif isinstance(found, list | tuple):
        for one in found:
            yield from names_in(one)


def test_all_that_status_says_is_read_over_http(
    client: TestClient, settings: Settings, store: Store, monitor: UsageMonitor
) -> None:
    """Of a process it had neither what it was started with, nor how fast it is, nor what it is refused."""
    monitor.beat("worker", started_at=utc_now())
    keep(store, "AAPL", 24)
    fleet = Fleet.on_its_own(settings)
    said = msgspec.json.decode(msgspec.json.encode(fleet.status()))
    fleet.close()
    paths = [f"/api/sources/{one['name']}" for one in said["sources"]]
    others = ("/api/monitoring/status", "/api/symbols", "/api/symbols/AAPL")
    told = [client.get(path).json() for path in (*others, *paths)]
    assert said["workers"]
    assert set(names_in(said)) - set(names_in(told)) - OTHERS.keys() == set()
    worker, shown = said["workers"][0], told[0]["workers"][0]
    assert {name: shown[name] for name in ("profile", "pace", "refused", "layout", "name")} == {
        name: worker[name] for name in ("profile", "pace", "refused", "layout", "name")
    }


def test_all_that_alert_says_is_read_over_http(
    server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient], store: Store
) -> None:
    """Does the webhook fail, and since when? Only a shell on the machine knew."""
    now = utc_now()
    one = Incident(
        "0123456789abcdef",
        "paused",
        "reddit",
        "paused",
        "resume it",
        now - timedelta(hours=1),
        now,
        opened_at=now,
        sent="",
        tries=3,
        next_try_at=now + timedelta(minutes=5),
        gone_at=now,
    )
    before = replace(one, id="earlier", began_at=now - timedelta(hours=2))
    for told in (one, before):
        store.client.hset(store.keys.incidents, told.id, msgspec.json.encode(told))
    store.client.expire(store.keys.incidents, 60)
    store.client.set(store.keys.alert_lease, "token api@desk", ex=60)
    client = client_for(settings_for(server, TBCACHE_ALERT_RULES="*:1m"))
    # One of an earlier version does not say by what it goes, and what this process has is not that.
    assert client.get("/api/alerts").json()["rules"] is None
    terms = Terms("api@desk", ("*:5m",), "https://hooks.example.com")
    Incidents(store).publish(terms, 60_000)
    alerts, ((incident,), (earlier,)) = (
        client.get("/api/alerts").json(),
        pages_of(client, "/api/incidents?most=1"),
    )
    assert (incident["id"], earlier["id"]) == (one.id, before.id)
    assert alerts["rules"][0] == "*:5m"
    assert alerts["webhook"] == "https://hooks.example.com"
    assert alerts["watcher"] == {"name": "api@desk", "fault": ""}
    assert set(incident) == set(msgspec.to_builtins(one))
    assert (incident["sent"], incident["tries"], incident["next_try_at"] is None) == ("", 3, False)
