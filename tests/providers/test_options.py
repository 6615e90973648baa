"""Unusual Whales: option flow."""

from __future__ import annotations

import sys
import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest

from tbcache.io import utc_now
from tbcache.models import Item, Page, RateHint
from tbcache.models.error import (
    UpstreamError,
    UpstreamNotEntitled,
    UpstreamPayloadError,
    UpstreamQuotaExhausted,
    UpstreamThrottled,
)
from tbcache.providers.client import HttpClient
from tbcache.providers.options import LIMIT, next_reset
from tests.providers.kit import NOW, answer, first_request, next_request, provider, read_all

ALERT: dict[str, Any] = {
    "type": "call",
    "ticker": "QQQ",
    "created_at": "2026-07-28T20:17:58.155573Z",
    "expiry": "2026-07-29",
    "strike": "683",
    "total_premium": "1000",
    "total_bid_side_prem": "100",
    "total_ask_side_prem": "700",
    "alert_rule": "RepeatedHits",
    "option_chain": "QQQ260729C00683000",
}
TRADE: dict[str, Any] = {
    "id": "01a0",
    "option_chain_id": "AAPL260914C00340000",
    "underlying_symbol": "AAPL",
    "executed_at": "2026-07-28T19:59:59.923266Z",
    "price": "0.20",
    "size": 10,
    "premium": "200.00",
    "nbbo_bid": "0.20",
    "nbbo_ask": "0.24",
    "tags": ["bid_side", "bearish"],
}
DAY = {
    "date": "2026-07-27",
    "bullish_premium": "300",
    "bearish_premium": "100",
    "call_premium": "350",
    "put_premium": "150",
}
EXPIRY = {
    "ticker": "BABA",
    "date": "2026-07-28",
    "expiry": "2026-08-01",
    "call_premium": "1000",
    "call_premium_ask_side": "600",
    "call_premium_bid_side": "200",
    "put_premium": "500",
    "put_premium_ask_side": "100",
    "put_premium_bid_side": "100",
    "put_volume": 7,
}


def parse(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Page:
    return provider("options").parse(answer(body, status, headers))


def one(row: object) -> Item:
    (item,) = parse({"data": [row]}).items
    return item


def refused(body: object, status: int = 200, headers: dict[str, str] | None = None) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        parse(body, status, headers)
    return caught.value


def test_the_request_asks_for_the_alerts_since_then() -> None:
    """The per-ticker path is deprecated, and 200 is the most a page holds."""
    request = first_request("options")
    assert request.url == "https://api.unusualwhales.com/api/option-trades/flow-alerts"
    since = str(int((NOW - timedelta(hours=24)).timestamp()))
    assert request.params == {"ticker_symbol": "AAPL", "newer_than": since, "limit": "200"}


def test_a_full_page_is_followed_from_the_second_after_its_oldest() -> None:
    """Cut at the second itself, alerts of the same second would be lost between two pages."""
    rows = [ALERT | {"option_chain": str(n)} for n in range(LIMIT)]
    cursor = parse({"data": rows}).next
    assert cursor == str(int(datetime(2026, 7, 28, 20, 17, 59, tzinfo=UTC).timestamp()))
    assert next_request("options", cursor).params["older_than"] == cursor


def test_a_full_page_is_no_end_and_goes_by_its_last_alert() -> None:
    """One alert of last year at its top would have let all in between be left out."""
    rows = [ALERT | {"option_chain": str(n)} for n in range(LIMIT)]
    old = ALERT | {"created_at": "2025-01-01T00:00:00Z"}
    assert parse({"data": [old, *rows]}).next == parse({"data": rows}).next
    undated = parse({"data": [row | {"created_at": None} for row in rows]})
    assert (undated.next, undated.exhausted) == (None, False)


@pytest.mark.parametrize(
    ("count", "is_end"), [(0, True), (99, True), (100, False), (150, False), (200, False)]
)
def test_a_page_as_long_as_that_of_no_limit_is_no_end(count: int, is_end: bool) -> None:
    """Where a limit is not heeded, 100 alerts of twelve minutes were called all those of a day."""
    page = parse({"data": [ALERT | {"option_chain": str(n)} for n in range(count)]})
    assert (page.exhausted, page.next is None) == (is_end, is_end)


def test_a_day_behind_a_server_that_caps_at_100_is_read_to_its_end() -> None:
    """Page by page to where the alerts of one second come again, and nothing else: that is all there is."""
    now = utc_now()
    days = [
        ALERT | {"option_chain": str(n), "created_at": f"{now - timedelta(minutes=n)}"} for n in range(150)
    ]

    def serve(request: httpx2.Request) -> httpx2.Response:
        last = float(request.url.params.get("older_than", "inf"))
        older = [row for row in days if datetime.fromisoformat(row["created_at"]).timestamp() < last]
        return httpx2.Response(200, json={"data": older[:100]})

    options = provider("options")
    options.client = HttpClient("options", transport=httpx2.MockTransport(serve))
    found = read_all(options)
    assert (found.reason, found.pages, len(found.items)) == (None, 2, 150)


@pytest.mark.parametrize("name", ["error", "errors"])
def test_an_error_beside_no_alerts_is_that_error(name: str) -> None:
    """A server that was broken was taken for a market that is closed."""
    assert type(refused({"data": [], name: "something broke"})) is UpstreamPayloadError
    assert not parse({"data": [ALERT], name: "something broke"}).exhausted


@pytest.mark.parametrize("broken", [None, {"name": "x"}])
def test_a_row_that_cannot_be_read_does_not_end_a_full_page(broken: object) -> None:
    """199 alerts of twelve minutes were called those of a day."""
    page = parse({"data": [*(ALERT | {"option_chain": str(n)} for n in range(LIMIT - 1)), broken]})
    assert page.next is not None
    assert not page.exhausted


@pytest.mark.parametrize(
    ("kind", "tag", "score", "label"),
    [
        ("call", "ask_side", 1.0, "bullish"),
        ("call", "bid_side", -1.0, "bearish"),
        ("put", "ask_side", -1.0, "bearish"),
        ("put", "bid_side", 1.0, "bullish"),
        ("put", "mid_side", 0.0, None),
    ],
)
def test_side_and_type_say_which_way_a_trade_leans(
    kind: str, tag: str, score: float, label: str | None
) -> None:
    """A put that is sold is a bet on a rise; the words of a trade say nothing."""
    item = one(TRADE | {"option_type": kind, "tags": [tag]})
    assert (item.score, item.label, item.weight) == (score, label, 200.0)


@pytest.mark.parametrize(("tag", "score"), [("bullish", 1.0), ("bearish", -1.0), ("neutral", 0.0)])
def test_a_tag_goes_before_side_and_type(tag: str, score: float) -> None:
    """The upstream knows of spreads what a single leg does not show."""
    assert one(TRADE | {"tags": ["ask_side", tag]}).score == score


@pytest.mark.parametrize(("price", "score"), [("0.24", 1.0), ("0.20", -1.0), ("0.22", 0.0)])
def test_a_trade_without_tags_is_placed_between_bid_and_ask(price: str, score: float) -> None:
    """The quote at the moment of the trade says who was in a hurry."""
    assert one(TRADE | {"tags": [], "price": price}).score == score


def test_a_side_is_read_where_it_is_a_field() -> None:
    """Flow of one contract names it so."""
    assert one({**TRADE, "tags": None, "nbbo_bid": None, "side": "ask"}).score == 1.0


def test_an_alert_is_graded_by_its_premium_at_ask_and_bid() -> None:
    """An alert sums up many trades, and few of them are all on one side."""
    assert one(ALERT).score == pytest.approx(0.6)
    assert one(ALERT | {"type": "put"}).score == pytest.approx(-0.6)
    assert one(ALERT).weight == 1000.0
    assert one(ALERT).label == "bullish"


def test_an_alert_of_the_stream_is_read() -> None:
    """It leaves out the side that is zero and the type, and counts time in milliseconds."""
    row = {
        "id": "4775",
        "ticker": "SLV",
        "option_chain": "SLV260206P00077000",
        "total_premium": 39000.0,
        "total_ask_side_prem": 39000.0,
        "executed_at": "1767799954952",
    }
    item = one(row)
    assert (item.id, item.score, item.weight) == ("4775", -1.0, 39000.0)
    assert item.at == datetime(2026, 1, 7, 15, 32, 34, 952000, tzinfo=UTC)


def test_a_trading_day_is_an_item() -> None:
    """The options-volume endpoint has a row a day."""
    item = one(DAY)
    assert (item.score, item.weight, item.at) == (0.5, 500.0, datetime(2026, 7, 27, tzinfo=UTC))
    assert parse({"data": [DAY, DAY | {"date": "2026-07-24"}]}).items[1].id != item.id


def test_an_expiry_is_an_item() -> None:
    """The documented object form of flow-recent has a row an expiry."""
    item = one(EXPIRY)
    assert item.score == pytest.approx((600 + 100 - 200 - 100) / 1000)
    assert item.weight == 1500.0
    assert len(parse({"data": [EXPIRY, EXPIRY | {"expiry": "2026-08-08"}]}).items) == 2


@pytest.mark.parametrize(
    "body",
    [
        [TRADE],
        [TRADE, TRADE],
        {"data": [TRADE]},
        {"data": {"2026-09-14": [TRADE]}},
        {"data": {"AAPL": {"2026-09-14": TRADE}}},
        [{"response": {}, "status": "ok"}, TRADE],
        [["option_trades:AAPL", {"response": {}, "status": "ok"}], ["option_trades:AAPL", TRADE]],
        TRADE,
    ],
)
def test_a_trade_is_found_however_it_is_wrapped(body: object) -> None:
    """Live answers are bare arrays where the document has an object, and feeds have channels."""
    assert [item.id for item in parse(body).items] == ["01a0"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"data": []},
        {"data": {}},
        {"data": {"2026-07-31": []}},
        {"2026-07-31": [], "2026-08-07": []},
        [{"response": {}, "status": "ok"}],
    ],
)
def test_no_flow_is_an_empty_page(body: object) -> None:
    """On weekends nobody trades."""
    assert parse(body).items == ()


@pytest.mark.parametrize(
    "body",
    [{}, {"data": None}, {"data": [{"name": "x"}]}, [{"name": "x"}], {"status": "ok"}, {"data": {"a": []}}],
)
def test_another_shape_is_no_quiet_weekend(body: object) -> None:
    """A changed API must be noticed on the first day."""
    assert type(refused(body)) is UpstreamPayloadError


@pytest.mark.parametrize("row", [TRADE, ALERT, DAY, EXPIRY])
def test_a_row_with_any_field_amiss_is_kept(row: dict[str, Any]) -> None:
    """One odd row must cost neither itself nor its page."""
    for field in row:
        amiss: tuple[object, ...] = (None, [], {}, "?", True, [[["deep"]]])
        for value in amiss:
            items = parse({"data": [row | {field: value}, row | {"id": "other"}]}).items
            assert len(items) == 2, (field, value)
            assert all(-1 <= (item.score or 0) <= 1 and item.weight >= 0 for item in items)


@pytest.mark.parametrize(
    "row", [TRADE | {"canceled": True}, TRADE | {"tags": ["ask_side"], "option_chain_id": "?"}]
)
def test_what_leans_nowhere_weighs_nothing(row: dict[str, Any]) -> None:
    """A trade that was taken back, or of which nothing is known, must not move the mean."""
    item = one(row)
    assert item.weight == 0.0
    assert item.score is not None


def test_an_item_says_what_was_traded() -> None:
    """People read the rows, though no scorer does."""
    assert one(ALERT).text == "QQQ 683 call 2026-07-29, $1,000, RepeatedHits"
    assert one(TRADE).text == "AAPL 340 call 2026-09-14, $200"


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (datetime(2026, 7, 28, 21, tzinfo=UTC), datetime(2026, 7, 29, 0, tzinfo=UTC)),
        (datetime(2026, 7, 29, 0, tzinfo=UTC), datetime(2026, 7, 30, 0, tzinfo=UTC)),
        (datetime(2026, 1, 15, 12, tzinfo=UTC), datetime(2026, 1, 16, 1, tzinfo=UTC)),
        (datetime(2026, 3, 8, 2, tzinfo=UTC), datetime(2026, 3, 9, 0, tzinfo=UTC)),
    ],
)
def test_the_day_ends_at_eight_in_new_york(start: datetime, expected: datetime) -> None:
    """Summer time moves it, and an hour too early is refused once more."""
    assert next_reset(start) == expected


def test_a_machine_without_time_zones_does_not_ask_before_the_quota_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may wait an hour too long in summer, and gets no error for an answer."""
    zoneinfo.reset_tzpath(())
    # What another test has imported of it is found without its parent.
    for name in {"tzdata", *(name for name in sys.modules if name.startswith("tzdata."))}:
        monkeypatch.setitem(sys.modules, name, None)
    ZoneInfo.clear_cache()
    try:
        assert next_reset(datetime(2026, 7, 28, 12, tzinfo=UTC)) == datetime(2026, 7, 29, 1, tzinfo=UTC)
    finally:
        zoneinfo.reset_tzpath()


def test_a_spent_day_is_a_quota_until_it_ends() -> None:
    """Asked again before, it answers the same and counts."""
    found = refused({"code": "daily_request_limit_hit"}, 429)
    assert type(found) is UpstreamQuotaExhausted
    assert found.retry_at == datetime(2026, 7, 29, 0, tzinfo=UTC)
    spent = {"x-uw-daily-req-count": "15000", "x-uw-token-req-limit": "15000"}
    assert type(refused({}, 429, spent)) is UpstreamQuotaExhausted


def test_a_spent_minute_is_a_window() -> None:
    """It is over in milliseconds that a header counts."""
    found = refused({}, 429, {"x-uw-req-per-minute-reset": "1500", "x-uw-daily-req-count": "9"})
    assert type(found) is UpstreamThrottled
    assert found.retry_at == NOW + timedelta(milliseconds=1500)


def test_a_missing_tier_is_a_matter_of_the_plan() -> None:
    """No retry buys it."""
    found = refused({"code": "historic_data_access_missing"}, 403)
    assert type(found) is UpstreamNotEntitled
    assert found.message == 'the upstream says "historic_data_access_missing"'


def test_the_daily_allowance_is_a_hint() -> None:
    """The minute is not the only limit that an answer speaks of."""
    headers = {
        "x-uw-daily-req-count": "67",
        "x-uw-token-req-limit": "15000",
        "x-uw-req-per-minute-remaining": "119",
        "x-uw-req-per-minute-reset": "60000",
    }
    assert parse([], 200, headers).hints == (
        RateHint(119, NOW + timedelta(minutes=1)),
        RateHint(14933, datetime(2026, 7, 29, 0, tzinfo=UTC), 15000),
    )
