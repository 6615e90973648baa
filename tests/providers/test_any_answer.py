"""Answers that nobody thought of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tbcache.fetch.page import MAX_AUTHOR, MAX_CURSOR, MAX_ID, MAX_TEXT, parse_page
from tbcache.models import Page, RawResponse
from tbcache.models.error import UpstreamError
from tests.providers.kit import NOW, provider

ALL = ("twitter", "reddit", "news", "options", "stocktwits")
KEYS = st.sampled_from(
    """data meta errors includes users id text username type title detail status code message error
    kind children after name author body replies created_utc articles totalResults url publishedAt
    description tags premium executed_at created_at option_chain total_premium total_ask_side_prem
    call_premium call_premium_ask_side bullish_premium date expiry price nbbo_bid nbbo_ask size
    option_type side canceled messages cursor more max entities sentiment basic user response
    period next_token selftext""".split()  # noqa: SIM905 -- one name a line would hide the rest
)
WORDS = st.sampled_from(
    """Listing t3 t1 ok error call put ask bullish [Removed] [deleted] &amp; -1 1e400 NaN
    2026-07-28T20:00:00Z 1747419592926 AAPL260914C00340000 daily_request_limit_hit""".split()  # noqa: SIM905
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | WORDS
    | st.text(max_size=8)
    | st.sampled_from(
        ["\ud83d", "\0", "x" * 50_000, "7" * 5000, "&#" + "7" * 5000, 10**30, -(10**400), 1e308, -1e308]
    )
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
DEEP = st.tuples(
    st.sampled_from(["[", '{"data":', '{"kind":"Listing","data":{"children":']), st.integers(1, 5000)
).map(
    lambda nested: (
        nested[0].encode() * nested[1]
        + b"[]"
        + (b"]" if nested[0] == "[" else b"}" * nested[0].count("{")) * nested[1]
    )
)
BODIES = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60) | DEEP
STATUSES = st.sampled_from([200, 200, 200, 200, 204, 302, 400, 401, 402, 403, 404, 429, 500]) | st.integers(
    0, 999
)
HEADER_NAMES = st.sampled_from(
    """date retry-after location x-rate-limit-reset x-rate-limit-remaining x-ratelimit-reset
    x-ratelimit-used x-ratelimit-remaining x-uw-req-per-minute-reset x-uw-daily-req-count
    x-uw-token-req-limit x-app-limit-24hour-remaining x-app-limit-24hour-reset""".split()  # noqa: SIM905
)
DATES = ["Mon, 24 May 2021 01:25:56 GMT", "Fri, 31 Dec 9999 23:59:59 -1200"]
HEADER_VALUES = st.sampled_from(["0", "1", "1e9", "1e308", "-5", "nan", *DATES]) | st.text(max_size=8)
HEADERS = st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=4)


def _read(source: str, response: RawResponse) -> Page | UpstreamError:
    try:
        return parse_page(source, provider(source).parse, response)
    except UpstreamError as error:
        return error


@pytest.mark.parametrize("source", ALL)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(body=BODIES, status=STATUSES, headers=HEADERS)
def test_any_answer_is_a_sound_page_or_an_upstream_error(
    source: str, body: bytes, status: int, headers: dict[str, str]
) -> None:
    """A worker that dies of an answer is asked it again by the next one."""
    page = _read(source, RawResponse(status, headers, body, received_at=NOW))
    if isinstance(page, UpstreamError):
        assert page.source == source
        assert page.message
        return
    assert len({item.id for item in page.items}) == len(page.items)
    assert page.next is None or 0 < len(page.next) <= MAX_CURSOR
    for hint in page.hints:
        assert 0 <= hint.remaining <= 1e9
        assert hint.reset_at.tzinfo is not None
    for item in page.items:
        assert 0 < len(item.id.encode()) <= 4 * MAX_ID
        assert len(item.text) <= MAX_TEXT
        assert len(item.author or "") <= MAX_AUTHOR
        assert item.at is None or item.at.tzinfo is not None
        assert item.score is None or -1 <= item.score <= 1
        assert 0 <= item.weight <= 1e13
        (item.author or "").encode()
        item.text.encode()
