"""What an operator has the fleet do, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache.api.error import NO_BODY
from tbcache.settings import Settings
from tbcache.store import Store
from tests.core.test_dead import bury
from tests.server import Server


def test_a_source_is_paused_and_resumed_over_http(client: TestClient) -> None:
    """The page's buttons are these; each says who pressed it."""
    ada = {"X-Operator": "ada"}
    paused = client.post("/api/queue/twitter/pause", json={"why": "new key"}, headers=ada)
    assert (paused.status_code, paused.json()) == (
        200,
        {"name": "twitter", "order": "pause", "before": None, "is_done": True, "others": []},
    )
    limits = client.get("/api/monitoring/rate-limits").json()["sources"]["twitter"]
    assert (limits["order"]["what"], limits["order"]["who"], limits["order"]["why"]) == (
        "pause",
        "ada",
        "new key",
    )
    again = client.post("/api/queue/twitter/pause", json={"why": "dear"}, headers={"X-Operator": "eve"})
    assert again.json()["before"] == limits["order"]
    again = client.get("/api/monitoring/rate-limits").json()["sources"]["twitter"]
    assert again["order"] == limits["order"]
    drained = client.post("/api/queue/twitter/drain").json()
    assert (drained["order"], drained["before"]) == ("pause", limits["order"])
    resumed = client.post("/api/queue/twitter/resume").json()
    assert resumed["before"] == limits["order"]
    assert [(one["who"], one["why"]) for one in resumed["others"]] == [("eve", "dear")]
    assert client.post("/api/queue/twitter/drain").json()["order"] == "drain"
    lines = client.get("/api/audit?most=4").json()
    assert [(one["who"], one["what"], one["name"]) for one in lines] == [
        ("api", "queue.drain", "twitter"),
        ("api", "queue.resume", "twitter"),
        ("eve", "queue.pause", "twitter"),
        ("ada", "queue.pause", "twitter"),
    ]


def test_what_is_meant_and_cannot_be_done_is_not_left_out(client: TestClient) -> None:
    """A dry run of what has none did it; a value that was not found meant all."""
    for verb in ("queue/twitter/resume", "queue/twitter/jobs/x/promote"):
        assert client.post(f"/api/{verb}", json={"dry_run": True}).status_code == 422
    for verb in ("unset", "reopen", "reset"):
        assert client.post(f"/api/limits/reddit/{verb}", json={"dry_run": True}).status_code == 422
        # A client that always sends an object means nothing by an empty one.
        assert client.post(f"/api/limits/reddit/{verb}", json={}).status_code == 200
    for verb in ("queue/reddit/cancel", "dead/reddit/purge", "dead/reddit/requeue"):
        assert client.post(f"/api/{verb}", json={"symbol": None}).status_code == 422
    assert [one["what"] for one in client.get("/api/audit").json()] == ["limits.reset"]


def test_limits_are_set_over_http(client: TestClient) -> None:
    """A shared key has to be shared now, and not after a deployment."""
    done = client.post("/api/limits/twitter/set", json={"limits": "100/15m", "why": "shared"})
    assert (done.json()["limits"], done.json()["is_lowered"]) == (["100/15m"], True)
    bound = client.get("/api/monitoring/rate-limits").json()["sources"]["twitter"]["bound"]
    assert (bound["limits"], bound["who"], bound["why"]) == (["100/15m"], "api", "shared")
    assert client.post("/api/limits/twitter/unset").json()["limits"] == []
    assert client.post("/api/limits/twitter/reopen").json() == {"source": "twitter", "was_closed": False}
    assert client.post("/api/limits/twitter/reset").json() == {"source": "twitter", "is_reset": True}
    refused = client.post("/api/limits/twitter/set", json={"limits": "100 per minute"})
    assert refused.status_code == 422
    assert "is not COUNT/WINDOW" in refused.text


def test_who_operates_needs_the_token_and_a_name(
    client: TestClient,
    client_for: Callable[..., TestClient],
    settings_for: Callable[..., Settings],
    server: Server,
) -> None:
    """A stranger stops no fleet."""
    strict = client_for(settings_for(server, TBCACHE_API_TOKEN="secret" * 3))
    assert strict.post("/api/queue/twitter/pause").status_code == 401
    token = {"Authorization": "Bearer secretsecretsecret"}
    assert strict.post("/api/queue/twitter/resume", headers=token).status_code == 200
    assert client.post("/api/queue/twitter/pause", headers={"X-Operator": "two words"}).status_code == 422
    assert client.post("/api/queue/twiter/pause").status_code == 404


def test_dead_letters_and_jobs_over_http(client: TestClient, store: Store) -> None:
    """What the command line does, a page can do, with the count before the click."""
    bury(store, [("AAPL", "timeout", {}), ("GME", "no", {"caller": "desk"})])
    found = client.get("/api/dead", params={"name": "twitter", "caller": "desk"}).json()
    assert [(one["job_id"], one["symbol"], one["reason"]) for one in found] == [("job-1", "GME", "no")]
    asked = {"error": "timeout", "dry_run": True}
    counted = client.post("/api/dead/twitter/requeue", json=asked).json()
    until = counted.pop("until")
    assert counted == {"name": "twitter", "count": 1, "left": 0, "is_done": False}
    # What has died since it was counted is left alone.
    store.client.zadd(store.keys.queue("twitter", "dead"), {"job-1": 4e15})
    meant = client.post("/api/dead/twitter/purge", json={"until": until, "dry_run": True}).json()
    assert (meant["count"], meant["until"]) == (1, until)
    assert client.post("/api/dead/twitter/purge", json={"until": "yesterday"}).status_code == 422
    done = client.post("/api/dead/twitter/requeue", json={"error": "timeout"}).json()
    assert (done["count"], done["is_done"]) == (1, True)
    assert client.post("/api/dead/twitter/purge", json={}).json()["count"] == 1
    assert client.post("/api/queue/twitter/jobs/job-0/promote").json()["state"] == "done"
    assert client.post("/api/queue/twitter/jobs/job-0/cancel").json()["state"] == "done"
    assert client.post("/api/queue/twitter/jobs/job-0/cancel").json()["state"] == "gone"


def test_no_verb_throws_away_what_stands_behind_the_question_mark(client: TestClient, store: Store) -> None:
    """A filter that is not heeded purges all; a GET of the same names takes them there."""
    bury(store, [("AAPL", "timeout", {}), ("GME", "no", {})])
    for path, query in (
        ("/api/dead/twitter/purge", "symbol=AAPL&dry_run=true"),
        ("/api/dead/twitter/requeue", "error="),
        ("/api/queue/twitter/pause", "why=x"),
        ("/api/limits/twitter/reset", "dry_run"),
        ("/act/purge", "source=twitter&sure=yes"),
    ):
        refused = client.post(f"{path}?{query}")
        assert (refused.status_code, refused.json()["error"].split(":")[0]) == (422, query.split("=")[0])
    assert len(client.get("/api/dead?name=twitter").json()) == 2
    assert client.get("/api/monitoring/rate-limits").json()["sources"]["twitter"]["order"] is None


@pytest.mark.parametrize("path", ["dead/twitter/requeue", "dead/twitter/purge", "queue/twitter/cancel"])
def test_all_of_a_queue_is_meant_by_whoever_says_so(client: TestClient, store: Store, path: str) -> None:
    """A script whose body has got lost must not queue 3,000 dead letters again."""
    bury(store, [("AAPL", "timeout", {})])
    refused = client.post(f"/api/{path}")
    assert (refused.status_code, refused.json()["error"]) == (422, f"body: {NO_BODY}")
    null = client.post(f"/api/{path}", content="null", headers={"Content-Type": "application/json"})
    assert null.status_code == 422
    assert len(client.get("/api/dead").json()) == 1
    assert client.post(f"/api/{path}", json={"dry_run": True}).status_code == 200


@pytest.mark.parametrize("part", ["symbol", "job", "error", "caller"])
def test_an_empty_filter_is_not_all_dead_letters(client: TestClient, store: Store, part: str) -> None:
    """A script whose variable has no value must not purge everything."""
    bury(store, [("AAPL", "timeout", {})])
    for verb in ("purge", "requeue"):
        refused = client.post(f"/api/dead/twitter/{verb}", json={part: ""})
        assert (refused.status_code, refused.json()["error"].split(":")[0]) == (422, part)
    assert client.get(f"/api/dead?{part}=").status_code == 422
    assert len(client.get("/api/dead").json()) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/jobs", {"source": "stocktwits", "symbols": ["AAPL"], "hours": True}),
        ("/api/jobs", {"source": "stocktwits", "symbols": ["AAPL"], "hours": "24"}),
        ("/api/weights", {"caller": "desk", "weight": True}),
        ("/api/weights", {"caller": "desk", "weight": "4"}),
        ("/api/dead/twitter/purge", {"dry_run": "no"}),
        ("/api/dead/twitter/purge", {"dry_run": 0}),
    ],
)
def test_a_body_means_what_its_types_say(client: TestClient, path: str, body: dict[str, Any]) -> None:
    """`true` hours would be a paid fetch of one."""
    refused = client.post(path, json=body)
    assert (refused.status_code, refused.json()["error"].split(":")[0]) == (422, list(body)[-1])


def test_what_is_paused_says_no_moment_that_nobody_knows(client: TestClient) -> None:
    """A bot that obeys `Retry-After: 1` would ask each second, for hours."""
    client.post("/api/queue/stocktwits/drain")
    refused = client.post("/api/jobs", json={"source": "stocktwits", "symbols": ["AAPL"]})
    assert (refused.status_code, refused.json()["type"]) == (429, "/docs#paused")
    assert "Retry-After" not in refused.headers
    assert "retry_at" not in refused.json()


def test_a_weight_is_set_over_http(client: TestClient) -> None:
    """And taken back by null, as nothing else says that."""
    heavy = {"caller": "desk/vip", "weight": 4}
    assert client.post("/api/weights", json=heavy).json()["weight"] == 4
    assert client.get("/api/weights").json() == {"desk/vip": 4.0}
    assert client.post("/api/weights", json={"caller": "desk/vip", "weight": None}).status_code == 200
    assert client.get("/api/weights").json() == {}
    assert client.post("/api/weights", json={"caller": "desk", "weight": 0}).status_code == 422
    assert client.post("/api/weights", json={"caller": "desk*", "weight": None}).status_code == 422
