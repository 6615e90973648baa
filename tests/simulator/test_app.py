"""Figures, faults and limits, across all five sources."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache.embedded.simulator import DEMO_CREDENTIALS, create_app, demo_variables
from tbcache.models import Limit
from tbcache.models.error import InvalidRequest, UnknownSource
from tbcache.settings import BUILT_IN, Settings, get_sources
from tests.simulator import ask
from tests.simulator.conftest import START, Clock

ALL = pytest.mark.parametrize("source", sorted(BUILT_IN))
DAY = 86_400


def _stats(client: TestClient) -> dict[str, Any]:
    return dict(client.get("/_stats").json())


def _fault(client: TestClient, source: str, **fault: Any) -> None:
    answer = client.post("/_faults", json={source: fault})
    assert answer.status_code == 200, answer.text


@ALL
def test_the_request_after_the_last_allowed_one_is_refused(
    simulator: Callable[..., TestClient], clock: Clock, source: str
) -> None:
    """Every API has a 429; every one lets the caller in again when the window has moved on."""
    client = simulator(limits={source: [Limit(3, 60)]})
    statuses = [ask.EACH[source](client).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    clock.advance(60)
    assert ask.EACH[source](client).status_code == 200
    figures = _stats(client)[source]
    assert (figures["accepted"], figures["refused"]) == (4, 2)
    assert figures["max_in_window"] == {"3/1m": 5}
    assert figures["by_status"] == {"200": 4, "429": 2}


@ALL
def test_the_default_limits_are_those_tbcache_keeps(source: str) -> None:
    """A demo whose two ends disagree about the limits would show refusals, or prove nothing."""
    windows = create_app().upstreams[source].limits.windows
    assert tuple(window.limit for window in windows) == BUILT_IN[source].limits


def test_tokens_and_controls_spend_nothing(client: TestClient) -> None:
    """Only what asks for data is counted."""
    ask.reddit_token(client)
    client.get("/_faults")
    assert all(figures["accepted"] == 0 for figures in _stats(client).values())


def test_posts_are_billed_once_a_day(client: TestClient, clock: Clock) -> None:
    """X bills a post once per UTC day: the figure is what a cache saves."""
    clock.at = START - START % DAY + 3600
    ask.twitter(client, max_results=100)
    assert _stats(client)["twitter"]["billed"] == 0.5
    ask.twitter(client, max_results=100)
    figures = _stats(client)["twitter"]
    assert (figures["billed"], figures["items_served"]) == (0.5, 200)
    clock.advance(DAY)
    ask.twitter(client, "$AAPL", max_results=100, end_time="2026-06-02T00:00:00Z")
    assert _stats(client)["twitter"]["billed"] == 1.0


def test_users_are_billed_beside_the_posts(client: TestClient) -> None:
    """Who expands the authors pays twice a post for each of them, once a day."""
    for _ in range(2):
        answer = ask.twitter(client, max_results=100, expansions="author_id").json()
    authors = len(answer["includes"]["users"])
    figures = _stats(client)["twitter"]
    assert figures["users_served"] == 2 * authors > 0
    assert figures["billed"] == pytest.approx(0.5 + authors * 0.010)


def test_counts_are_billed_by_the_request(client: TestClient) -> None:
    """They are the cheap way to ask how much there is."""
    client.get("/twitter/2/tweets/counts/recent?query=$AAPL", headers=ask.BEARER)
    assert _stats(client)["twitter"]["billed"] == 0.005


def test_a_reset_forgets_the_figures_but_not_the_limit(simulator: Callable[..., TestClient]) -> None:
    """Otherwise a reset in the middle of a measurement would itself allow a burst."""
    client = simulator(limits={"news": [Limit(1, 60)]})
    ask.news(client)
    reset = client.post("/_stats/reset").json()["news"]
    assert (reset["accepted"], reset["max_in_window"], reset["first_arrival"]) == (0, {"1/1m": 0}, None)
    assert ask.news(client).status_code == 429


def test_arrivals_are_dated(client: TestClient, clock: Clock) -> None:
    """From when to when, so that a rate can be told."""
    ask.stocktwits(client)
    clock.advance(2)
    ask.stocktwits(client)
    figures = _stats(client)["stocktwits"]
    assert figures["first_arrival"] == "2026-06-02T15:00:00.000000Z"
    assert figures["last_arrival"] == "2026-06-02T15:00:02.000000Z"


@ALL
def test_an_outage_answers_503_in_the_dialect_and_ends(client: TestClient, source: str) -> None:
    """The commonest fault there is. Reddit's front servers say nothing with it; the others have words."""
    _fault(client, source, outage=True)
    if source == "reddit":
        answer = client.post("/reddit/api/v1/access_token", auth=ask.LOGIN)
    else:
        answer = ask.EACH[source](client)
    words = {"reddit": "", "options": "Service Unavailable", "stocktwits": "Something went wrong",
             "twitter": "Service Unavailable", "news": "unexpectedError"}  # fmt: skip
    assert answer.status_code == 503
    assert words[source] in answer.text
    assert bool(answer.text) == bool(words[source])
    assert client.delete("/_faults").json() == {name: {} for name in BUILT_IN}
    assert ask.EACH[source](client).status_code == 200


@ALL
def test_every_status_can_be_had_on_request(client: TestClient, source: str) -> None:
    """Clients have to tell them apart, and none may stumble over one it never words."""
    for status in (400, 401, 402, 403, 404, 422, 429, 451, 500, 502, 503, 522):
        _fault(client, source, status=status)
        assert ask.EACH[source](client).status_code == status


def test_an_error_rate_is_a_share_and_the_same_every_time(simulator: Callable[..., TestClient]) -> None:
    """Retries are measured under it; a run that cannot be repeated measures nothing."""
    runs = []
    for _ in range(2):
        client = simulator()
        _fault(client, "stocktwits", error_rate=0.3, status=502)
        runs.append([ask.stocktwits(client).status_code for _ in range(100)])
    assert runs[0] == runs[1]
    assert 15 < runs[0].count(502) < 45


def test_a_lower_limit_is_enforced_and_shown(client: TestClient, clock: Clock) -> None:
    """An upstream may grant less than it did yesterday."""
    _fault(client, "options", limits="2/10s")
    assert [ask.options(client).status_code for _ in range(3)] == [200, 200, 429]
    assert _stats(client)["options"]["max_in_window"]["2/10s"] == 3
    assert client.get("/_faults").json()["options"] == {"limits": ["2/10s"]}
    client.delete("/_faults")
    assert ask.options(client).status_code == 200


@pytest.mark.parametrize(
    ("source", "key", "value"),
    [("twitter", "period", "Monthly"), ("news", "code", "apiKeyExhausted"),
     ("options", "code", "daily_request_limit_hit")],
)  # fmt: skip
def test_an_exhausted_quota_speaks_the_dialect(client: TestClient, source: str, key: str, value: str) -> None:
    """A quota is not a window: not to be retried, and told apart only by the body."""
    _fault(client, "*", quota="exhausted")
    answer = ask.EACH[source](client)
    assert (answer.status_code, answer.json()[key]) == (429, value)


@ALL
def test_garbage_is_a_200_that_is_no_json(client: TestClient, source: str) -> None:
    """Recorded from real APIs: a body cut off in the middle, and none at all."""
    _fault(client, source, garbage=True)
    answer = ask.EACH[source](client)
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    _fault(client, source, empty=True)
    assert (ask.EACH[source](client).status_code, ask.EACH[source](client).content) == (200, b"")


@pytest.mark.parametrize("fault", ["garbage", "empty"])
def test_what_is_spoiled_on_the_way_is_billed(client: TestClient, fault: str) -> None:
    """X bills what it serves: a simulator that does not hides that nobody counts it."""
    _fault(client, "twitter", **{fault: True})
    ask.EACH["twitter"](client)
    assert client.get("/_stats").json()["twitter"]["billed"] > 0


def test_answers_take_as_long_as_they_are_told_to(client: TestClient) -> None:
    """Time-outs and overlapping requests only show where answers take time."""
    _fault(client, "news", latency=[0.05, 0.06])
    started = time.monotonic()
    ask.news(client)
    assert time.monotonic() - started >= 0.05


def test_a_plan_can_change_while_it_runs(client: TestClient) -> None:
    """An account that upgrades gets what it pays for without a restart."""
    last_day = {"from": "2026-06-01T15:00:00"}
    assert ask.news(client, **last_day).json()["totalResults"] == 0
    _fault(client, "news", plan="paid")
    assert ask.news(client, **last_day).json()["totalResults"] > 0


def test_a_named_source_goes_before_the_star(client: TestClient) -> None:
    """All but one is a common wish."""
    client.post("/_faults", json={"*": {"outage": True}, "news": {}})
    assert ask.news(client).status_code == 200
    assert ask.stocktwits(client).status_code == 503


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"redit": {}}, "unknown source 'redit'; did you mean 'reddit'?"),
        ({"reddit": {"outag": True}}, "reddit.outag is no fault; did you mean 'outage'?"),
        ({"reddit": {"error_rate": 2}}, "reddit.error_rate=2 is not valid"),
        ({"reddit": {"status": 200}}, "reddit.status=200 is not valid"),
        ({"reddit": {"outage": "maybe"}}, "reddit.outage='maybe' is not valid"),
        (
            {"reddit": {"limits": "10/2x"}},
            "reddit.limits='10/2x' is not valid: limit '10/2x' has an unknown unit",
        ),
        ({"reddit": {"limits": 10}}, "limits are text, like 10/2s"),
        ({"reddit": {"latency": [1, 0]}}, "latency is [MIN, MAX] seconds"),
        ({"reddit": {"latency": ["a", 1]}}, "latency is [MIN, MAX] seconds"),
        ({"reddit": True}, "reddit: faults are an object"),
        ([], "faults are an object by source"),
        ({"news": {"plan": "pad"}}, "news.plan='pad' is no plan; did you mean 'paid'?"),
        ({"news": {"envelope": "error.json"}}, "start with --replay DIR"),
    ],
)
def test_a_wrong_fault_is_one_line_and_changes_nothing(client: TestClient, body: Any, line: str) -> None:
    """A typo in a fault that is silently ignored makes a test that proves nothing."""
    if isinstance(body, dict):
        body = {"twitter": {"outage": True}, **body}
    answer = client.post("/_faults", json=body)
    assert answer.status_code == 422
    assert line in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert client.get("/_faults").json()["twitter"] == {}


def test_a_body_that_is_no_json_is_said_to_be_none(client: TestClient) -> None:
    """`curl -d` without quotes sends one."""
    for body in (b"{outage}", b"\xff", b"[" * 5000):
        answer = client.post("/_faults", content=body)
        assert answer.status_code == 422
        assert "not JSON" in answer.json()["error"]


def test_a_dropped_connection_is_counted(simulator: Callable[..., TestClient]) -> None:
    """The request did arrive; the limit and the figures know it."""
    client = simulator()
    _fault(client, "news", outage="drop")
    with pytest.raises(ConnectionResetError):
        ask.news(client)
    figures = _stats(client)["news"]
    assert (figures["accepted"], figures["by_status"]) == (1, {"dropped": 1})


def test_the_demo_variables_are_all_that_tbcache_needs() -> None:
    """With them every source is on and asks the simulator."""
    sources = get_sources(Settings.load(demo_variables("http://127.0.0.1:9000/")))
    assert all(source.is_enabled for source in sources.values())
    assert {name: source.base_url for name, source in sources.items()} == {
        name: f"http://127.0.0.1:9000/{name}" for name in BUILT_IN
    }
    assert demo_variables("http://h").items() >= DEMO_CREDENTIALS.items()
    assert demo_variables("http://h")["TBCACHE_REDDIT__AUTH_URL"] == "http://h/reddit"


def test_options_for_what_there_is_not_are_refused() -> None:
    """A misspelt source in a limit would otherwise run without one."""
    with pytest.raises(UnknownSource, match="did you mean 'reddit'"):
        create_app(limits={"redit": [Limit(1, 1)]})
    with pytest.raises(InvalidRequest, match="did you mean 'paid'"):
        create_app(plans={"news": "pad"})
    with pytest.raises(InvalidRequest, match="did you mean 'outage'"):
        create_app(faults={"news": {"outag": True}})


def test_faults_can_be_there_from_the_start(simulator: Callable[..., TestClient]) -> None:
    """What happens to a fleet that starts while an upstream is down is seen only so."""
    client = simulator(faults={"news": {"outage": True}})
    assert (ask.news(client).status_code, ask.stocktwits(client).status_code) == (503, 200)
