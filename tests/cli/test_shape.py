"""One verb has one answer: on the command line and over HTTP the same names mean the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache.api import create_app
from tbcache.fleet import Fleet
from tbcache.io import utc_now
from tbcache.models import FetchRequest, Limit
from tbcache.models.caller import caller
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.settings import Settings
from tbcache.store import Store
from tests.cli.command import Done
from tests.core.test_dead import bury
from tests.kept import keep
from tests.server import Server

#: Of each verb the command, the path, and the body.
VERBS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("queue pause reddit", "queue/reddit/pause", {}),
    ("queue drain reddit", "queue/reddit/drain", {}),
    ("queue resume reddit", "queue/reddit/resume", None),
    ("queue cancel reddit --yes", "queue/reddit/cancel", {}),
    ("queue cancel reddit --dry-run", "queue/reddit/cancel", {"dry_run": True}),
    ("queue cancel reddit gone", "queue/reddit/jobs/gone/cancel", {}),
    ("queue promote reddit gone", "queue/reddit/jobs/gone/promote", None),
    ("queue weight desk 4", "weights", {"caller": "desk", "weight": 4}),
    ("queue weight desk --unset", "weights", {"caller": "desk", "weight": None}),
    ("limits set reddit 10/1m", "limits/reddit/set", {"limits": "10/1m"}),
    ("limits unset reddit", "limits/reddit/unset", None),
    ("limits reopen reddit", "limits/reddit/reopen", None),
    ("limits reset reddit --yes", "limits/reddit/reset", None),
    ("dead requeue reddit --yes", "dead/reddit/requeue", {}),
    ("dead purge reddit --dry-run", "dead/reddit/purge", {"dry_run": True}),
    ("cache clear reddit:* --yes", "monitoring/cache/clear", {"pattern": "reddit:*"}),
    ("cache clear reddit:* --dry-run", "monitoring/cache/clear", {"pattern": "reddit:*", "dry_run": True}),
]


#: Of each read the command, and the path.
READS = [
    ("limits show", "monitoring/rate-limits"),
    ("queue list", "jobs"),
    ("queue explain JOB", "jobs/JOB"),
    ("queue weight", "weights"),
    ("dead list", "dead"),
    ("dead errors", "dead/errors"),
    ("audit", "audit"),
    ("changes", "changes"),
    ("usage --days 2", "usage?days=2"),
    ("usage --by caller", "usage?by=caller"),
    ("usage --by symbol", "usage/symbols"),
    ("usage --source reddit --over 15m", "usage/history?source=reddit&span=15m"),
    ("cache stats", "monitoring/cache/status"),
    ("symbol AAPL", "symbols/AAPL"),
    ("fetch reddit AAPL", "sentiment/reddit/AAPL"),
    ("history reddit AAPL --since DAY --until DAY", "history?source=reddit&symbol=AAPL&start=DAY&end=DAY"),
]
#: What is another at each look: a moment, an age, what the server uses of its memory, or a worker's figures.
MOVES = re.compile(
    r"age|seconds|starts_at|ping_ms|memory_bytes|keys|hits.*|requests|misses|cache_hit_rate|cause|start|end"
)
#: Over HTTP alone, of 0.1.0; and what is in a job's message, on the command line alone.
ALONE = {"allowed", "message"}


def still(found: Any) -> Any:
    """What is the same at each look: the rest by its names alone."""
    if isinstance(found, dict):
        return {
            name: None if MOVES.fullmatch(name) and not isinstance(one, dict) else still(one)
            for name, one in found.items()
            if name not in ALONE
        }
    return [still(one) for one in found] if isinstance(found, list) else found


@pytest.fixture
def settings(
    settings_for: Callable[..., Settings], server: Server, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """With which both ask."""
    own = {"TBCACHE_REDDIT__CLIENT_ID": "x", "TBCACHE_REDDIT__CLIENT_SECRET": "secret"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return settings_for(server, **own)


@pytest.fixture
def http(settings: Settings) -> Iterator[TestClient]:
    client = ("127.0.0.1", 50000)
    with TestClient(create_app(settings), client=client, base_url="http://localhost:8000") as found:
        yield found


def test_each_verb_answers_alike_on_the_command_line_and_over_http(
    server: Server, http: TestClient, cli: Callable[..., Done]
) -> None:
    """A script that was written for the one is of use for the other."""
    for command, path, body in VERBS:
        said = cli(*command.split(), REDIS_URL=server.url).data
        answer = http.post(f"/api/{path}", json=body) if body is not None else http.post(f"/api/{path}")
        assert answer.status_code == 200, (path, answer.text)
        # `before` is what the command had set, as its verb came first.
        rest = {"before", "bound_before", "until", "others"}
        assert list(said) == list(answer.json()), command
        for name in set(said) - rest:
            if name not in ("is_raised", "is_unchanged", "was_closed"):
                assert said[name] == answer.json()[name], (command, name)


def test_each_read_answers_alike_on_the_command_line_and_over_http(
    server: Server, http: TestClient, cli: Callable[..., Done], settings: Settings, store: Store
) -> None:
    """Whoever has read the one knows the other, and a script for the one is of use for the other."""
    keep(store, "AAPL", 24)
    job = Queue(store, settings).enqueue(FetchRequest("reddit", "GME"), caller="desk").job_id
    bury(store, [("AMC", "timeout", {}), ("AMC", "timeout", {})], "news")
    operator = Fleet(settings, store).as_operator("ada")
    operator.set_limits("reddit", [Limit(10, 60.0)], "shared")
    operator.set_weight("desk", 4)
    monitor = UsageMonitor(store, settings)
    monitor.symbol_costs.pay("reddit", ("GME",), 1_500_000)
    monitor.record_request("reddit", cost=0.5)
    with caller("desk"):
        monitor.callers.record("reddit", "live")
    assert monitor.flush()
    day = f"{utc_now():%Y-%m-%dT00:00:00Z}"
    for command, path in READS:
        words = [word.replace("JOB", job).replace("DAY", day) for word in command.split()]
        said = cli(*words, REDIS_URL=server.url)
        answer = http.get(f"/api/{path.replace('JOB', job).replace('DAY', day)}")
        assert (said.code, answer.status_code) == (0, 200), (command, said.err, answer.text)
        assert said.data or command == "changes"
        assert still(said.data) == still(answer.json()), command
    for verb, path, body in (
        ("enqueue reddit TSLA", "jobs", {"source": "reddit", "symbols": ["TSLA"]}),
        ("warm AAPL --source reddit", "warm", {"source": "reddit", "symbols": ["AAPL"]}),
    ):
        said, answer = cli(*verb.split(), REDIS_URL=server.url), http.post(f"/api/{path}", json=body)
        assert [[*one] for one in said.data] == [[*one] for one in answer.json()], verb
        assert [one["job_id"] for one in said.data] == [one["job_id"] for one in answer.json()]


def test_what_was_in_force_until_then_is_said_by_both(
    server: Server, http: TestClient, cli: Callable[..., Done]
) -> None:
    """Each says what the other has set, and who did."""
    url = {"REDIS_URL": server.url}
    cli("limits", "set", "reddit", "10/1m", "--by", "ada", "--why", "shared", **url)
    done = http.post("/api/limits/reddit/set", json={"limits": "20/1m"}).json()
    assert (done["before"], done["limits"], done["is_raised"]) == (["10/1m"], ["20/1m"], True)
    assert (done["bound_before"]["who"], done["bound_before"]["limits"]) == ("ada", ["10/1m"])
    said = cli("limits", "unset", "reddit", **url)
    assert (said.data["before"], said.data["bound_before"]["who"]) == (["20/1m"], "api")
    assert said.data["bound_before"]["limits"] == ["20/1m"]
    assert "until now it was 20/1m (20/1m set by api)" in said.err
    cli("queue", "weight", "desk", "4", **url)
    assert http.post("/api/weights", json={"caller": "desk", "weight": 2}).json()["before"] == 4
    assert cli("queue", "weight", "desk", "--unset", **url).data["before"] == 2
    http.post("/api/queue/reddit/pause", json={"why": "new key"})
    said = cli("queue", "drain", "reddit", **url)
    assert (said.code, said.data["order"], said.data["before"]["what"], said.data["before"]["who"]) == (
        1,
        "pause",
        "pause",
        "api",
    )
    assert "reddit stays paused; nothing is changed: it was paused since" in said.err
