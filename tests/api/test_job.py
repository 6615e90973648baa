"""Jobs, symbols and sources over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from starlette.testclient import TestClient

from tbcache.fleet import AuditLine
from tbcache.fleet.audit import Audit
from tbcache.io import utc_now
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store
from tests.core.test_dead import bury
from tests.server import Server


def pages_of(client: TestClient, path: str) -> list[list[Any]]:
    """All pages, each found by the one before."""
    answer, found = client.get(path), []
    while True:
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        if not answer.links:
            return found
        answer = client.get(answer.links["next"]["url"])


@pytest.fixture
def asking(
    server: Server, settings_for: Callable[..., Settings], client_for: Callable[..., TestClient]
) -> TestClient:
    """A client of an API with one source that is on."""
    return client_for(settings_for(server, TBCACHE_TWITTER__BEARER_TOKEN="a-token"))


def test_a_bot_has_symbols_fetched_and_does_not_wait(asking: TestClient) -> None:
    """A job is accepted at once, found again by its id, and joined by who asks for the same."""
    asked = {"source": "twitter", "symbols": ["GME", "aapl"], "hours": 6}
    answer = asking.post("/api/jobs", json=asked, headers={"X-Tbcache-Caller": "desk/bot-1"})
    first, second = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/jobs/{first['job_id']}"
    assert [(one["symbol"], one["hours"], one["state"]) for one in (first, second)] == [
        ("GME", 6, "queued"),
        ("AAPL", 6, "queued"),
    ]
    again = asking.post("/api/jobs", json={**asked, "symbols": ["GME"]}).json()
    assert [(one["state"], one["job_id"]) for one in again] == [("joined", first["job_id"])]

    found = asking.get(answer.headers["Location"]).json()
    assert (found["queue"], found["state"], found["place"]) == ("twitter", "waiting", 1)
    pages = pages_of(asking, "/api/jobs?name=twitter&caller=desk&most=1")
    assert [(one["symbol"], one["caller"]) for page in pages for one in page] == [
        ("GME", "desk/bot-1"),
        ("AAPL", "desk/bot-1"),
    ]
    kept = asking.get("/api/symbols/GME?hours=6").json()["sources"]
    told = {one["source"]: one for one in kept}["twitter"]
    assert (told["sentiment"], told["job"]["job_id"]) == (None, first["job_id"])
    assert asking.post(f"/api/queue/twitter/jobs/{first['job_id']}/cancel").json()["state"] == "done"
    gone = asking.get(answer.headers["Location"])
    assert (gone.status_code, "it is over, or was never there" in gone.json()["detail"]) == (404, True)
    assert gone.json()["type"] == "/docs#unknown-job"


def test_symbols_are_warmed_where_sources_are_on(asking: TestClient) -> None:
    """As `tbcache warm` does it. What was queued has a line in the audit, as it may cost money."""
    answer = asking.post("/api/warm", json={"symbols": ["NVDA"]}, headers={"X-Operator": "ada"})
    assert (answer.status_code, {one["state"] for one in answer.json()}) == (202, {"queued"})
    assert {one["source"] for one in answer.json()} >= {"twitter", "stocktwits"}
    (job,) = asking.get("/api/jobs?name=twitter&symbol=nvda").json()
    assert (job["lane"], job["state"]) == ("prewarm", "waiting")
    assert [
        one["source"]
        for one in asking.post("/api/warm", json={"symbols": ["NVDA"], "source": "twitter"}).json()
    ] == ["twitter"]
    (line,) = asking.get("/api/audit").json()
    assert (line["who"], line["what"], line["detail"]) == ("ada", "cache.warm", "NVDA")
    assert line["name"] == ",".join(sorted({one["source"] for one in answer.json()}))
    assert line["count"] == len(answer.json())
    asking.post("/api/warm", json={"symbols": [f"A{n}" for n in range(12)], "source": "twitter"})
    assert asking.get("/api/audit?most=1").json()[0]["detail"] == "A0,A1,A10,A11,A2,A3,A4,A5,A6,A7 and 2 more"
    form = {"source": "twitter", "symbol": "GME", "sure": "yes", "back": "/"}
    assert asking.post("/act/warm", data=form, follow_redirects=False).status_code == 303
    (line,) = asking.get("/api/audit?most=1").json()
    assert (line["who"], line["what"], line["detail"]) == ("page@127.0.0.1", "cache.warm", "GME")


def test_nothing_is_warmed_where_one_of_the_sources_is_drained(asking: TestClient) -> None:
    """Money spent behind a refusal is money that nobody knows of."""
    for source in ("stocktwits", "twitter"):
        asking.post(f"/api/queue/{source}/drain")
        refused = asking.post("/api/warm", json={"symbols": ["NVDA"]})
        assert (refused.status_code, refused.json()["source"]) == (429, source)
        assert asking.get("/api/jobs").json() == []
        asking.post(f"/api/queue/{source}/resume")
    assert asking.post("/api/warm", json={"symbols": ["NVDA"]}).status_code == 202


@pytest.mark.parametrize(
    ("path", "asked", "status", "what"),
    [
        ("/api/jobs", {"source": "twiter", "symbols": ["GME"]}, 404, "did you mean 'twitter'"),
        ("/api/jobs", {"source": "news", "symbols": ["GME"]}, 503, "TBCACHE_NEWS__API_KEY"),
        ("/api/jobs", {"source": "twitter", "symbols": []}, 422, "symbols"),
        ("/api/jobs", {"source": "twitter", "symbols": ["A"] * 101}, 422, "symbols"),
        ("/api/jobs", {"source": "twitter", "symbols": ["GME", "no ticker"]}, 422, "no ticker"),
        ("/api/jobs", {"source": "twitter", "symbols": ["GME"], "hours": 0}, 422, "hours"),
        ("/api/warm", {"symbols": ["no ticker"]}, 422, "no ticker"),
    ],
)
def test_what_cannot_be_queued_is_said_and_nothing_is_queued(
    asking: TestClient, path: str, asked: dict[str, Any], status: int, what: str
) -> None:
    """Half of a list in a queue, and an error: who knows which half?"""
    answer = asking.post(path, json=asked)
    assert (answer.status_code, what in answer.json()["detail"]) == (status, True), answer.text
    assert asking.get("/api/jobs").json() == []


def test_a_list_of_jobs_goes_on_to_its_end(asking: TestClient, store: Store, settings: Settings) -> None:
    """Of 12,101 jobs the last thousand could not be had, and nothing said so."""
    symbols = [f"T{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(60)]
    asking.post("/api/jobs", json={"source": "twitter", "symbols": symbols})
    for query in ("most=7", "name=twitter&most=60", "most=9&state=waiting", "most=7&symbol=TAB", "most=60"):
        pages = pages_of(asking, f"/api/jobs?{query}")
        found = [one["symbol"] for page in pages for one in page]
        assert found == (["TAB"] if "symbol" in query else symbols)
        assert all(pages)
    asking.post("/api/jobs", json={"source": "stocktwits", "symbols": ["GME"]})
    assert max(len(page) for page in pages_of(asking, "/api/jobs?most=7")) == 7
    assert asking.get("/api/jobs?after=twitter:59&most=5").json()[0]["symbol"] == symbols[-1]
    assert asking.get("/api/jobs?after=nowhere:3").json() == []


def test_what_has_changed_comes_a_page_at_a_time(client: TestClient, store: Store) -> None:
    """It was one answer of any length, which left out what was done before the last thousand orders."""
    now = datetime.now(UTC)
    for number in range(1_020):
        at = now - timedelta(seconds=number // 4)
        store.client.lpush(
            store.keys.audit, msgspec.json.encode(AuditLine(at, f"o{number}", "queue.resume", "twitter"))
        )
    store.client.expire(store.keys.audit, 60)
    for most in (1000, 333):
        first = client.get(f"/api/changes?most={most}")
        # What is new meanwhile moves nothing.
        client.post("/api/queue/twitter/resume")
        rest = pages_of(client, first.links["next"]["url"])
        told = [one["who"] for page in (first.json(), *rest) for one in page if one["who"] != "api"]
        assert sorted(told) == sorted(f"o{number}" for number in range(1_020))
    # Four are of one moment each, and some of them may be gone by the next page.
    one = "/api/changes?most=1&hours=0.003"
    told = [found["who"] for page in pages_of(client, one) for found in page]
    assert (len(told) > 8, sorted(told)) == (True, sorted(f"o{number}" for number in range(len(told))))
    moment = parse_qs(client.get(one).links["next"]["url"])["after"][0].partition(".")[0]
    assert client.get(f"{one}&after={moment}.99").json()[0]["who"] in ("o4", "o5", "o6", "o7")


@pytest.mark.parametrize(
    "mark", ["changes?after=1", "changes?after=1.\u0661", f"changes?after=1.{'9' * 18}", "changes?after=a.b"]
)
def test_a_place_in_a_list_is_as_the_answer_has_it(client: TestClient, mark: str) -> None:
    """Whatever else it is, it is no place, and no fault of ours."""
    for path in (mark, mark.replace("changes?after=1.", "jobs?after=twitter:")):
        refused = client.get(f"/api/{path}")
        assert (refused.status_code, "as the answer's `Link` has it" in refused.json()["error"]) == (
            422,
            True,
        )


def test_jobs_are_cancelled_by_a_filter(asking: TestClient) -> None:
    """One by one ten thousand take an hour."""
    asking.post("/api/jobs", json={"source": "twitter", "symbols": ["GME", "AAPL", "NVDA"]})
    path = "/api/queue/twitter/cancel"
    assert asking.post(path, json={"symbol": "GME", "dry_run": True}).json()["count"] == 1
    assert len(asking.get("/api/jobs").json()) == 3
    assert asking.post(path, json={"symbol": "GME", "why": "no more"}).json() == {
        "name": "twitter",
        "count": 1,
        "is_done": True,
        "until": None,
    }
    assert asking.post(path, json={"symbl": "GME"}).status_code == 422
    assert asking.post(path, json={}).json()["count"] == 2
    assert asking.get("/api/jobs").json() == []


def test_dead_letters_come_a_page_at_a_time(client: TestClient, store: Store) -> None:
    """Ten thousand in one answer are nothing for a page, and one that is queued again moves no other."""
    bury(store, [("AAPL", "timeout", {}), ("GME", "timeout", {}), ("NVDA", "no", {})])
    bury(store, [("TSLA", "timeout", {})], "reddit")
    first = client.get("/api/dead?most=1&error=timeout")
    (last,) = first.json()
    assert last["actor"] == "fetch.twitter"
    assert last["args"].startswith('symbol="')
    client.post(f"/api/dead/{last['source']}/purge", json={"job": last["job_id"]})
    rest = pages_of(client, first.links["next"]["url"])
    assert [[(one["source"], one["symbol"]) for one in page] for page in ([last], *rest)] == [
        [("twitter", "GME")],
        [("twitter", "AAPL")],
        [("reddit", "TSLA")],
    ]
    assert client.get("/api/dead?after=nonsense").status_code == 422
    # A key that somebody has damaged hides nothing of the others.
    store.client.set(store.keys.queue("reddit", "dead"), "x", ex=60)
    assert [one["symbol"] for one in client.get("/api/dead").json()] == ["NVDA", "AAPL"]
    assert client.get("/jobs").status_code == 200


def test_the_audit_comes_a_page_at_a_time(client: TestClient, store: Store, settings: Settings) -> None:
    """Thirty days of it are ten thousand lines."""
    for who, verb in zip("abc", ("pause", "resume", "drain"), strict=True):
        client.post(f"/api/queue/twitter/{verb}", headers={"X-Operator": who})
    pages = pages_of(client, "/api/audit?most=2")
    assert [[one["who"] for one in page] for page in pages] == [["c", "b"], ["a"]]


def test_no_line_of_the_audit_is_lost_between_pages_or_told_twice(client: TestClient, store: Store) -> None:
    """Each process goes by its own clock: lines of one moment, and lines that stand before earlier ones."""
    now = datetime.now(UTC)
    moments = [now, now, now - timedelta(seconds=5), now - timedelta(seconds=1), now - timedelta(seconds=3)]
    for number, at in enumerate(moments):
        line = AuditLine(at, f"operator-{number}", "queue.resume", "twitter")
        store.client.rpush(store.keys.audit, msgspec.json.encode(line))
    store.client.expire(store.keys.audit, 60)
    for most in (1, 2, 3):
        first = client.get(f"/api/audit?most={most}")
        client.post("/api/queue/twitter/resume")
        rest = pages_of(client, first.links["next"]["url"])
        names = [one["who"] for page in (first.json(), *rest) for one in page if one["who"] != "api"]
        assert names == [f"operator-{number}" for number in (4, 3, 2, 1, 0)][: len(names)]
        assert "operator-0" in names
        store.client.ltrim(store.keys.audit, 0, 4)
    assert client.get(f"/api/audit?after={'0' * 32}").json() == []
    assert client.get("/api/audit?after=nonsense").status_code == 422


def test_lines_that_are_written_between_two_calls_are_told_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list is read a part at a time, from its end, which moves."""
    audit, call = Audit(store), store.call
    monkeypatch.setattr("tbcache.fleet.audit.CHUNK", 2)
    for number in range(5):
        audit.write("ada", "queue.resume", str(number))

    def busy(*command: Any) -> Any:
        found = call(*command)
        audit.write("ada", "queue.resume", "later")
        return found

    monkeypatch.setattr(store, "call", busy)
    assert [line.name for line in audit.read(100)] == ["4", "3", "2", "1", "0"]


def test_a_source_is_told_with_all_that_is_known_of_it(client: TestClient) -> None:
    """The page of a source shows no figure that a program cannot have."""
    found = client.get("/api/sources/reddit").json()
    assert (found["name"], found["state"], found["slots"]) == ("reddit", "off", [])
    assert found["queue"] == dict.fromkeys(
        ("interactive", "prewarm", "suspects", "delayed", "running", "dead"), 0
    )
    assert client.get("/api/sources/redit").json()["type"] == "/docs#unknown-source"


def test_usage_is_told_by_whatever_it_is_asked_by(
    client: TestClient, store: Store, monitor: UsageMonitor
) -> None:
    """Who spent the budget? A caller, a worker, a day: the rows that `tbcache usage` prints."""
    monitor.record_request("twitter", cost=0.25)
    monitor.record_request("reddit", cached=True)
    assert monitor.flush()
    found = client.get("/api/usage?by=source&most=1")
    assert (found.json()["total"]["requests"], found.json()["total"]["cost"]) == (2, 0.25)
    rows = [row for page in pages_of(client, "/api/usage?by=source&most=1") for row in page["rows"]]  # type: ignore[call-overload]
    assert {row["name"]: row["requests"] for row in rows} == {"twitter": 1, "reddit": 1}
    assert client.get("/api/usage?by=day&days=2&source=twitter").json()["rows"][-1]["cost"] == 0.25
    assert {row["cost_most"] for row in rows} == {None}
    callers = store.keys.callers("twitter", utc_now())
    store.client.hset(callers, mapping={"desk:live": 1, "desk:paid": 1_500_000})
    store.client.expire(callers, 60)
    by_caller = {row["name"]: row for row in client.get("/api/usage?by=caller").json()["rows"]}
    # It may be more than was paid, as callers share what is loaded.
    assert (by_caller["desk"]["cost"], by_caller["desk"]["cost_most"]) == (1.5, 1.5)
    assert client.get("/api/usage?by=week").status_code == 422


def test_symbols_that_are_kept_warm_are_listed(
    settings_for: Callable[..., Settings], server: Server, client_for: Callable[..., TestClient]
) -> None:
    """How fresh each source's answer is, as on the page."""
    settings = settings_for(server, TBCACHE_COMMON_SYMBOLS="MSFT,AAPL")
    client = client_for(settings)
    pages = pages_of(client, "/api/symbols?most=1")
    assert [[one["symbol"] for one in page] for page in pages] == [["AAPL"], ["MSFT"]]
    (held, *_) = pages[0][0]["sources"]
    assert (held["hours"], held["fresh_until"], held["score"]) == (24, None, None)
