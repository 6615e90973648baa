"""Unusual Whales, as UPSTREAMS describes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache.models import Limit
from tests.simulator import ask
from tests.simulator.conftest import START, Clock

DAY = 86_400


def _get(client: TestClient, path: str, **params: Any) -> Any:
    return client.get(f"/options{path}", params=params, headers=ask.OPTIONS_KEY)


def _times(answer: Any) -> list[float]:
    return [datetime.fromisoformat(row["created_at"]).timestamp() for row in answer.json()["data"]]


def test_alerts_are_rows_of_strings_and_counts(client: TestClient) -> None:
    """Money comes as text, counts as numbers: a parser that assumes either for both breaks."""
    rows = ask.options(client).json()["data"]
    assert len(rows) == 100
    for row in rows:
        assert row["ticker"] == "AAPL"
        assert {type(row[name]) for name in ("strike", "price", "total_premium", "total_ask_side_prem")} == {
            str
        }
        assert {type(row[name]) for name in ("volume", "open_interest", "trade_count")} == {int}
        sides = int(row["total_ask_side_prem"]) + int(row["total_bid_side_prem"])
        assert sides == int(row["total_premium"])


def test_the_crowd_leans_to_one_side_or_the_other(client: TestClient) -> None:
    """Sentiment comes from side and type alone; a feed without sides would always be neutral."""
    shares = [
        int(row["total_ask_side_prem"]) / int(row["total_premium"])
        for row in ask.options(client).json()["data"]
    ]
    assert min(shares) < 0.3
    assert max(shares) > 0.7


def test_newer_than_and_older_than_bound_the_time(client: TestClient) -> None:
    """hours=24 is newer_than, the next page is older_than."""
    times = _times(ask.options(client, newer_than=int(START - DAY), limit=200))
    assert times == sorted(times, reverse=True)
    assert 170 < len(times) < 180
    assert times[-1] > START - DAY
    next_page = _times(ask.options(client, older_than=times[49], limit=5))
    assert next_page == pytest.approx(times[50:55])


def test_iso_times_are_understood_too(client: TestClient) -> None:
    """The vendor documents both forms."""
    by_text = ask.options(client, newer_than="2026-06-01T15:00:00Z", limit=200)
    assert by_text.json() == ask.options(client, newer_than=int(START - DAY), limit=200).json()
    assert len(by_text.json()["data"]) < 200


def test_several_tickers_share_one_answer(client: TestClient) -> None:
    """The real endpoint takes a list."""
    rows = ask.options(client, "AAPL,MSFT").json()["data"]
    assert {row["ticker"] for row in rows} == {"AAPL", "MSFT"}


def test_recent_flow_is_a_bare_array_that_repeats_a_trade(client: TestClient) -> None:
    """Live answers are no object, and hold trades twice; the spec says neither."""
    rows = _get(client, "/api/stock/AAPL/flow-recent").json()
    ids = [row["id"] for row in rows]
    assert len(ids) == 51
    assert len(set(ids)) == 50
    asks = _get(client, "/api/stock/AAPL/flow-recent", side="ASK", min_premium=100_000).json()
    assert all("ask_side" in row["tags"] and float(row["premium"]) >= 100_000 for row in asks)


def test_volume_has_a_row_per_trading_day(client: TestClient) -> None:
    """START is a Tuesday: the third row back is Friday's."""
    rows = _get(client, "/api/stock/AAPL/options-volume", limit=3).json()["data"]
    assert [row["date"] for row in rows] == ["2026-06-02", "2026-06-01", "2026-05-29"]


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/api/stock/ZZZQ/flow-recent", 404, {}),
        ("/api/option-trades/flow-alerts?ticker_symbol=ZZZQ", 404, {}),
        ("/api/stock/AAPL/nothing", 404, {"error": "Route not found"}),
        ("/nothing", 404, {"error": "Route not found"}),
    ],
)
def test_an_unknown_ticker_is_told_from_an_unknown_route(
    client: TestClient, path: str, status: int, body: dict[str, str]
) -> None:
    """One is the user's mistake, the other ours."""
    answer = client.get(f"/options{path}", headers=ask.OPTIONS_KEY)
    assert (answer.status_code, answer.json()) == (status, body)


@pytest.mark.parametrize("params", [{"limit": 201}, {"limit": "many"}, {"newer_than": "soon"}])
def test_a_bad_parameter_is_a_422_that_repeats_the_query(client: TestClient, params: dict[str, Any]) -> None:
    """The vendor answers path, message and query."""
    answer = ask.options(client, **params)
    assert answer.status_code == 422
    assert set(answer.json()) == {"path", "msg", "query"}
    assert next(iter(params)) in answer.json()["msg"]


def test_a_wrong_key_is_unauthorized(client: TestClient) -> None:
    """No key, no data."""
    assert client.get("/options/api/option-trades/flow-alerts").status_code == 401


def test_headers_count_the_day_and_the_minute_in_milliseconds(
    simulator: Callable[..., TestClient], clock: Clock
) -> None:
    """Its reset is in milliseconds: read as seconds it would stop a source for hours."""
    client = simulator(limits={"options": [Limit(2, 60), Limit(100, DAY)]})
    ask.options(client)
    clock.advance(20)
    headers = ask.options(client).headers
    assert headers["x-uw-daily-req-count"] == "2"
    assert headers["x-uw-req-per-minute-remaining"] == "0"
    assert 40_000 <= int(headers["x-uw-req-per-minute-reset"]) <= 40_001
    assert ask.options(client).status_code == 429


def test_the_minute_headers_speak_of_the_window_that_refuses(
    simulator: Callable[..., TestClient], clock: Clock
) -> None:
    """With two short windows the one that is open must not hide the one that is not."""
    client = simulator(limits={"options": [Limit(5, 60), Limit(1, 3600)]})
    ask.options(client)
    refused = ask.options(client)
    assert refused.status_code == 429
    assert int(refused.headers["x-uw-req-per-minute-reset"]) >= 3_600_000


def test_a_full_day_is_a_quota(simulator: Callable[..., TestClient], clock: Clock) -> None:
    """Over the minute one waits, over the day one gives up until the reset."""
    client = simulator(limits={"options": [Limit(2, 60), Limit(3, DAY)]})
    for _ in range(3):
        ask.options(client)
        clock.advance(60)
    assert ask.options(client).json() == {"code": "daily_request_limit_hit"}


@pytest.mark.parametrize(
    ("params", "is_wanted"),
    [
        ({"is_call": "true"}, lambda row: row["type"] == "call"),
        ({"is_put": "true"}, lambda row: row["type"] == "put"),
        ({"is_call": "true", "is_put": "true"}, lambda row: True),
        ({"is_sweep": "true"}, lambda row: row["has_sweep"]),
        ({"min_premium": 200_000}, lambda row: int(row["total_premium"]) >= 200_000),
        ({"max_premium": 200_000}, lambda row: int(row["total_premium"]) <= 200_000),
        ({"min_size": 1000}, lambda row: row["total_size"] >= 1000),
    ],
)
def test_alerts_are_filtered_before_they_are_counted(
    client: TestClient, params: dict[str, Any], is_wanted: Callable[[dict[str, Any]], bool]
) -> None:
    """A limit of 20 is 20 that were asked for, and not what is left of 20."""
    rows = ask.options(client, "NVDA", limit=20, **params).json()["data"]
    assert len(rows) == 20
    assert all(map(is_wanted, rows))


def test_a_bad_value_is_said_with_the_query_as_it_came(client: TestClient) -> None:
    """Its own client reads the query as text."""
    answer = ask.options(client, "AAPL", limit=500)
    assert (answer.status_code, answer.json()["query"]) == (422, "ticker_symbol=AAPL&limit=500")
