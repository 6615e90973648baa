"""Stocktwits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tbcache.models import Engagement, Page
from tbcache.models.error import UpstreamThrottled, UpstreamUnavailable
from tests.providers.kit import answer, first_request, next_request, provider


def message(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "body": "S&amp;P won&#39;t",
        "created_at": "2026-07-28T20:00:00Z",
        "user": {"id": 1, "username": "ann"},
        "symbols": [],
        "entities": {"sentiment": None},
    } | fields


def parse(*messages: object, **more: object) -> Page:
    return provider("stocktwits").parse(
        answer({"response": {"status": 200}, "messages": list(messages)} | more)
    )


def test_the_request_asks_for_the_stream_of_the_symbol() -> None:
    """Thirty is the most a page holds."""
    request = first_request("stocktwits", "BRK.B")
    assert request.url == "https://api.stocktwits.com/api/2/streams/symbol/BRK.B.json"
    assert request.params == {"limit": "30"}
    assert next_request("stocktwits", "77").params["max"] == "77"


def test_a_message_is_read() -> None:
    """Its text is escaped on the wire."""
    (item,) = parse(message(7)).items
    assert (item.id, item.text, item.author, item.label) == ("7", "S&P won't", "ann", None)
    assert item.at == datetime(2026, 7, 28, 20, tzinfo=UTC)


def test_a_message_says_which_tickers_it_names_and_what_it_answers() -> None:
    """38% of recorded messages name three tickers or more."""
    (item,) = parse(
        message(
            7,
            symbols=[{"symbol": "AAPL"}, {"symbol": "BTC.X"}],
            conversation={"parent_message_id": 5},
            likes={"total": 3},
            user={"username": "ann", "followers": 12},
        )
    ).items
    assert (item.kind, item.origin, item.symbols) == ("reply", "5", ("AAPL", "BTC.X"))
    assert item.engagement == Engagement(likes=3, followers=12)
    assert item.url == "https://stocktwits.com/ann/message/7"


@pytest.mark.parametrize(
    ("entities", "label"),
    [
        ({"sentiment": {"basic": "Bullish"}}, "bullish"),
        ({"sentiment": {"basic": "Bearish"}}, "bearish"),
        ({"sentiment": "Bullish"}, "bullish"),
        ({"sentiment": {"basic": None}}, None),
        ({"sentiment": {"basic": "Undecided"}}, None),
        ({"sentiment": None}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_the_authors_own_label_is_kept(entities: object, label: str | None) -> None:
    """It goes before every guess from the text."""
    (item,) = parse(message(7, entities=entities)).items
    assert item.label == label


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        ({"more": True, "since": 9, "max": 7}, "7"),
        ({"more": False, "max": 7}, None),
        ({"more": True, "max": None}, None),
        (None, None),
    ],
)
def test_the_next_page_starts_at_the_cursor_where_there_is_more(cursor: object, expected: str | None) -> None:
    """A page asked for in vain is one of two hundred an hour."""
    assert parse(message(7), cursor=cursor).next == expected


@pytest.mark.parametrize(
    "cursor",
    [None, {}, {"since": 9, "max": 7}, {"more": None}, {"more": True, "max": None}, {"more": True}],
)
def test_a_stream_ends_only_where_it_says_so(cursor: object) -> None:
    """Thirty messages of one hour passed for those of a day where a cursor was null."""
    assert not parse(message(7), cursor=cursor).exhausted
    assert not parse(cursor=cursor).exhausted
    assert parse(message(7), cursor={"more": False, "max": 7}).exhausted


def test_an_empty_page_ends_the_stream() -> None:
    """A cursor that goes on without messages would go on for ever."""
    assert parse(cursor={"more": True, "max": 7}).next is None


def test_a_repeated_message_is_one_item() -> None:
    """The cursor may be inclusive, and a restream repeats."""
    assert len(parse(message(7), message(7), message(8)).items) == 2


@pytest.mark.parametrize("field", ["id", "body", "created_at", "user", "symbols", "entities"])
@pytest.mark.parametrize("value", [None, [], {}, "?"])
def test_a_message_with_a_field_amiss_is_kept(field: str, value: object) -> None:
    """One odd message must cost neither itself nor its page."""
    items = parse(message(7, **{field: value}), message(8), None, 7).items
    assert len(items) == 2


def test_messages_alone_are_a_page() -> None:
    """Collected streams are bare lists."""
    assert len(provider("stocktwits").parse(answer([message(7)])).items) == 1


def test_too_many_requests_is_told_by_the_body_too() -> None:
    """The documented refusal states its status in the body."""
    body = {"response": {"status": 429}, "errors": [{"message": "Rate limit exceeded. Client may wait."}]}
    for status in (200, 429):
        with pytest.raises(UpstreamThrottled, match=r"Rate limit exceeded\. Client may wait\."):
            provider("stocktwits").parse(answer(body, status))


def test_an_error_beside_no_messages_is_that_error() -> None:
    """An outage was taken for a symbol of which nobody speaks."""
    end = {"more": False, "since": None, "max": None}
    with pytest.raises(UpstreamUnavailable):
        parse(errors=[{"message": "Service unavailable"}], cursor=end)
    assert parse(message(7), cursor=end).exhausted
    assert not parse(message(7), errors=[{"message": "Service unavailable"}], cursor=end).exhausted
