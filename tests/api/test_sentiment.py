"""Answers over HTTP: for a bot that is written in another language."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI, HTTPException
from starlette.testclient import TestClient

import tbcache
from tbcache.admission import Ask, Go, Settlement
from tbcache.api.context import MOST_WAITING
from tbcache.api.crew import Places
from tbcache.fetch import get_pipeline
from tbcache.io import run
from tbcache.models import FetchRequest
from tbcache.settings import Settings
from tbcache.testing import RunningSimulator, simulator
from tests.server import Server, wait_until
from tests.today import set_today

AAPL = "/api/sentiment/stocktwits/AAPL"


@pytest.fixture(scope="module")
def upstream() -> Iterator[RunningSimulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def asked(
    upstream: RunningSimulator,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    client_for: Callable[..., TestClient],
) -> Iterator[TestClient]:
    """A client of an API whose process has the simulator's sources."""
    for name, value in {**upstream.variables, "REDIS_URL": server.url, "TBCACHE_REDIS_TIMEOUT": "10"}.items():
        monkeypatch.setenv(name, value)
    yield client_for(settings)
    get_pipeline().close()
    tbcache.get_usage_monitor().leave()


def test_an_answer_is_asked_for_in_the_name_that_the_header_says(
    asked: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One API stands for many bots, and what each asks for counts as its own."""
    assert asked.get(AAPL, headers={"X-Tbcache-Caller": "desk/bot-1"}).status_code == 200
    refused = asked.get(AAPL, headers={"X-Tbcache-Caller": "a b"})
    assert (refused.status_code, refused.json()["error"][:17]) == (422, "'a b' is no calle")
    monitor, day = tbcache.get_usage_monitor(), datetime.now(UTC)
    set_today(monkeypatch, day)
    assert monitor.flush()
    assert monitor.callers.read("stocktwits", day)["desk"] == {"live": 1}


def test_a_symbol_is_answered_now_and_for_the_past(asked: TestClient) -> None:
    """The same figures as in Python, by name."""
    found = asked.get(AAPL, params={"hours": 6}).json()
    told = found["sentiment"]
    assert (found["origin"], told["hours"], len(told["buckets"])) == ("live", 6, 24)
    assert told["covered_hours"] > 0
    assert told["top"][0]["url"].startswith("http")
    short = asked.get(AAPL, params={"min_coverage": 1, "hours": 168}).json()
    assert (short["sentiment"], "of 168 hours, which is less than 1" in short["reason"]) == (None, True)

    def then() -> object:
        return asked.get(AAPL, params={"hours": 6, "as_of": told["as_of"]}).json()["sentiment"]

    wait_until(lambda: then() is not None, 30)
    assert then() == told
    thin = asked.get(AAPL, params={"hours": 6, "min_coverage": 1, "as_of": told["as_of"]}).json()
    assert (thin["sentiment"], thin["age"]) == (None, 0.0)
    assert "of 6 hours, which is less" in thin["reason"]
    end = datetime.fromisoformat(told["as_of"]).astimezone(UTC)
    span = {"start": (end - timedelta(hours=1)).isoformat(), "end": end.isoformat(), "every": 3600}
    asks = {"source": "stocktwits", "symbol": "AAPL", "hours": 6, **span}
    found = asked.get("/api/history", params=asks)
    first, last = found.json()["points"]
    # An hour ago nobody had asked, but what is known now tells of then as well.
    looked_back = asked.get("/api/history", params={**asks, "hindsight": True}).json()["points"]
    nothing = asked.get("/api/history", params={**asks, "symbol": "GME"}).json()
    assert (found.json()["reason"], [point["score"] for point in nothing["points"]]) == (None, [None, None])
    assert "nothing is recorded of GME in stocktwits: it was never asked for" in nothing["reason"]
    assert nothing["reason"].endswith("or what came is not written yet")
    assert looked_back[0]["count"] > 0
    # The operator's page draws the same, up to the last whole second.

    def is_drawn() -> bool:
        now = datetime.now(UTC).replace(microsecond=0)
        day = {**asks, "hours": 24, "start": (now - timedelta(hours=1)).isoformat(), "end": now.isoformat()}
        score = asked.get("/api/history", params=day).json()["points"][-1]["score"]
        return score is not None and f">{score:+.2f}" in asked.get("/symbol/AAPL/past").text

    wait_until(is_drawn, 30, "the page's having the answer")
    seen = asked.get("/symbol/AAPL/past").text
    assert '<path class="line"' in seen
    assert "nothing is recorded of GME in stocktwits" in asked.get("/symbol/GME/past?span=7d").text
    assert asked.get("/symbol/AAPL/past?span=9d").status_code == 422
    # A page at a time, each of which says where the next is.
    page, points = asked.get("/api/history", params={**asks, "most": 1}), []
    while page.links:
        points += page.json()["points"]
        page = asked.get(page.links["next"]["url"])
    assert [*points, *page.json()["points"]] == [first, last]
    assert (first["score"], last["score"], last["covered_hours"]) == (
        None,
        told["score"],
        told["covered_hours"],
    )


@pytest.mark.parametrize(
    ("path", "status", "what"),
    [
        ("/api/sentiment/stocktwit/AAPL", 404, "did you mean 'stocktwits'"),
        ("/api/sentiment/stocktwits/no%20ticker", 422, "is no ticker"),
        (f"{AAPL}?hours=0", 422, "hours"),
        (f"{AAPL}?min_coverage=2", 422, "min_coverage"),
        (f"{AAPL}?hour=1", 422, "hour"),
        (f"{AAPL}?as_of=2026-07-28T12:00", 422, "as_of"),
        ("/api/history?source=stocktwits&symbol=AAPL&start=2026-07-28T12:00Z", 422, "end"),
        (
            "/api/history?source=stocktwits&symbol=AAPL&start=2026-01-01T00:00Z&end=9026-01-01T00:00Z",
            422,
            "end",
        ),
    ],
)
def test_what_cannot_be_answered_is_said(asked: TestClient, path: str, status: int, what: str) -> None:
    """One line, and the nearest right thing, as everywhere."""
    answer = asked.get(path)
    assert answer.status_code == status
    assert what in answer.json()["error"]


def test_an_answer_is_the_same_while_only_its_age_changes(asked: TestClient) -> None:
    """A bot that polls is sent an answer when there is another."""
    # Where an answer comes from is no matter of its age: the second is the cache's.
    live, first = asked.get(AAPL), asked.get(AAPL)
    assert live.headers["ETag"] != first.headers["ETag"]
    again = asked.get(AAPL, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = asked.get(AAPL, params={"hours": 1}, headers={"If-None-Match": first.headers["ETag"]})
    assert other.status_code == 200


def test_why_an_answer_is_null_is_part_of_its_tag(asked: TestClient) -> None:
    """Every null is the same one else, whatever the reason says by now."""
    nulls = [asked.get(AAPL, params={"hours": 168, "min_coverage": least}) for least in (1, 0.99)]
    assert [one.json()["sentiment"] for one in nulls] == [None, None]
    assert len({one.headers["ETag"] for one in nulls}) == 2


def test_an_answer_that_another_fetches_is_refused_by_no_limit(asked: TestClient) -> None:
    """A bot that goes by the type would look at the limits, which have slots."""
    provider = tbcache.get_provider("stocktwits")
    admission, ask = get_pipeline().admission, Ask(provider.source, FetchRequest("stocktwits", "GME"))
    match run(admission.admit(ask)):
        case Go(grant, _):
            refused = asked.get("/api/sentiment/stocktwits/GME", params={"patience": 0})
            run(admission.settle(grant, Settlement()))
        case other:
            pytest.fail(f"it was {other}")
    assert (refused.status_code, refused.json()["type"]) == (429, "/docs#answer-pending")
    assert refused.json()["error"] == "stocktwits: another worker is still fetching it; ask again"
    assert refused.headers["Retry-After"] == "1"


def test_no_client_takes_all_places(asked: TestClient) -> None:
    """Whoever comes next finds one, be he an operator, how many bots of another address may wait."""
    asked.get(AAPL)
    asked.get("/api/monitoring/status")
    assert isinstance(asked.app, FastAPI)
    waiting = asked.app.state.context.waiting
    with ExitStack() as stack:
        for _ in range(MOST_WAITING // 2):
            stack.enter_context(waiting.taken("127.0.0.1"))
        refused = asked.get("/api/sentiment/stocktwits/NVDA")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert "64 answers are being made for you already" in refused.json()["error"]
        # What waits for nothing needs no place, and other paths have their own bound.
        assert asked.get(AAPL).json()["origin"] == "cache"
        assert asked.get("/api/weights").status_code == 200
        counts = [_fill(stack, waiting, f"192.0.2.{n}") for n in range(1, 5)]
        assert counts == [32, 16, 8, 4]
        for n in range(5, 20):
            _fill(stack, waiting, f"192.0.2.{n}")
        with pytest.raises(HTTPException, match="503"):
            waiting.taken("192.0.2.99").__enter__()


def _fill(stack: ExitStack, waiting: Places, client: str) -> int:
    """How many places ``client`` gets."""
    for count in itertools.count():
        try:
            stack.enter_context(waiting.taken(client))
        except HTTPException:
            return count
    raise AssertionError


@pytest.mark.parametrize("path", [AAPL, "/api/history", "/symbol/AAPL/past"])
@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example.com"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_no_web_page_of_another_site_makes_the_bot_pay(
    client: TestClient, path: str, headers: dict[str, str]
) -> None:
    """A picture whose address is this one asks as well, and each new symbol may cost money."""
    assert client.get(path, headers=headers).status_code == 403


def test_with_a_token_nobody_asks_without_it(
    settings_for: Callable[..., Settings], server: Server, client_for: Callable[..., TestClient]
) -> None:
    """Whoever is let in to read figures need not be let in to spend."""
    client = client_for(settings_for(server, TBCACHE_API_TOKEN="t" * 16))
    assert client.get(AAPL).status_code == 401
    past = client.get("/symbol/AAPL/past")
    assert (past.status_code, "/login" in past.text) == (401, True)
    client.post("/login", data={"token": "t" * 16})
    assert client.get("/symbol/AAPL/past", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.get("/symbol/AAPL/past").status_code == 200
