"""Recorded answers of the five upstreams, where a folder of them is at hand."""

from __future__ import annotations

import html
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tbcache.models import Page, RawResponse
from tbcache.models.error import (
    UpstreamAuthError,
    UpstreamError,
    UpstreamNotEntitled,
    UpstreamNotFound,
    UpstreamPayloadError,
    UpstreamQuotaExhausted,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from tests.providers.kit import NOW, provider

DEFAULT_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "payloads"
# Read here: in a test no such variable is left.
NAMED = os.environ.get("TBCACHE_PAYLOADS")
FOLDER = Path(NAMED or DEFAULT_FOLDER)
SOURCES = {
    "twitter": "twitter",
    "reddit": "reddit",
    "newsapi": "news",
    "unusual_whales": "options",
    "stocktwits": "stocktwits",
}

#: How many items a file holds, or the error that it is.
EXPECTED: dict[str, int | type[UpstreamError]] = {
    "newsapi/error_maximumResultsReached": UpstreamNotEntitled,
    "newsapi/error_rateLimited_100": UpstreamQuotaExhausted,
    "newsapi/everything_wasabeef": 20,
    "newsapi/ok_39palakved": 4,
    "reddit/ListingGenerator_exhaust_items_1": 100,
    "reddit/ListingGenerator_no_items_1": 0,
    "reddit/ReadOnlyAuthorizer_refresh_0": UpstreamPayloadError,
    "reddit/ScriptAuthorizer_refresh__with_invalid_username_or_password_0": UpstreamAuthError,
    "reddit/Session_request__bad_gateway_1": UpstreamUnavailable,
    "reddit/Session_request__bad_json_1": UpstreamPayloadError,
    "reddit/Session_request__forbidden_1": UpstreamNotEntitled,
    "reddit/Session_request__too__many_requests__with_retry_headers_1": UpstreamThrottled,
    "reddit/SubredditListings_new_1": 100,
    "reddit/Subreddit_search_0": UpstreamPayloadError,
    "reddit/deleted_Front_controversial_1": 100,
    "stocktwits/error_429": UpstreamThrottled,
    "stocktwits/full_get_symbol_msgs": 30,
    "stocktwits/messages_sample": 30,
    "stocktwits/page2026_AAPL_223721_0": 30,
    "stocktwits/page2026_AAPL_223721_1": 30,
    "stocktwits/page2026_TSLA_223721_0": 30,
    "stocktwits/page2026_mixed__0": 30,
    "stocktwits/page2026_mixed__1": 30,
    "twitter/error_401_unauthorized": UpstreamAuthError,
    "twitter/error_429_too_many": UpstreamThrottled,
    "twitter/error_429_usage_capped": UpstreamQuotaExhausted,
    "twitter/partial_200_with_errors": UpstreamNotEntitled,
    "twitter/twarc_cashtags_0": 1,
    "twitter/twarc_edited_0": 1,
    "twitter/twarc_withheld_0": 1,
    "twitter/v2_client_get_tweets_0": 2,
    "twitter/v2_client_get_users_mentions_0": 10,
    "twitter/v2_client_search_recent_tweets_0": 10,
    "unusual_whales/error_404_unknown_ticker": UpstreamNotFound,
    "unusual_whales/error_429_daily_quota": UpstreamQuotaExhausted,
    # Kept for its headers. A success without the documented shape is not "no flow".
    "unusual_whales/headers_measured_20260822": UpstreamPayloadError,
    "unusual_whales/openapi_example_options_volume": 1,
    "unusual_whales/rest_flow_alerts_QQQ_20260728": 1,
    "unusual_whales/rest_flow_recent_bare_array_20260914": 1,
    "unusual_whales/ws_option_trades_TSLA_20250516": 17,
}
#: Where the quotas of the recorded refusals end, for an answer received at NOW.
UNTIL = {
    "newsapi/error_rateLimited_100": datetime(2026, 7, 29, 9, tzinfo=UTC),
    "twitter/error_429_usage_capped": datetime(2026, 8, 1, tzinfo=UTC),
    "unusual_whales/error_429_daily_quota": datetime(2026, 7, 29, 0, tzinfo=UTC),
}


def _recorded() -> list[str]:
    files = sorted(FOLDER.glob("*/*.json"))
    return [f"{file.parent.name}/{file.stem}" for file in files if file.parent.name in SOURCES]


def _envelope(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_bytes())
    return found


def _answer(name: str) -> RawResponse:
    envelope = _envelope(name)
    body = envelope["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return RawResponse(envelope["status"], envelope["headers"], raw, received_at=NOW)


def _read(name: str) -> Page | UpstreamError:
    try:
        return provider(SOURCES[name.partition("/")[0]]).parse(_answer(name))
    except UpstreamError as error:
        return error


def test_a_folder_that_is_named_holds_answers() -> None:
    """A misspelt path would turn every test below into a silent skip."""
    assert _recorded() or not NAMED


@pytest.mark.parametrize("name", [name for name in _recorded() if name in EXPECTED])
def test_a_recorded_answer_is_what_it_is_known_to_be(name: str) -> None:
    """Real answers are the proof that the documents were read right."""
    found, expected = _read(name), EXPECTED[name]
    if isinstance(expected, int):
        assert isinstance(found, Page)
        assert len(found.items) == expected
    else:
        assert type(found) is expected


@pytest.mark.parametrize("name", _recorded())
def test_any_recorded_answer_is_a_sound_page_or_an_upstream_error(name: str) -> None:
    """Whatever file is added to the folder, nobody downstream meets a naive time or a repeated id."""
    found = _read(name)
    if isinstance(found, UpstreamError):
        assert found.source == SOURCES[name.partition("/")[0]]
        assert found.status == _answer(name).status
        assert 0 < len(found.message) <= 200
        assert "<" not in found.message
        return
    assert len({item.id for item in found.items}) == len(found.items)
    for item in found.items:
        assert item.at is None or item.at.utcoffset() == UTC.utcoffset(None)
        assert item.author not in ("", "[deleted]")
        assert "&amp;" not in item.text
        assert "&#39;" not in item.text


@pytest.mark.parametrize("name", [name for name in _recorded() if name in UNTIL])
def test_a_recorded_quota_ends_when_the_upstream_says(name: str) -> None:
    """A quota asked again too early costs calls; asked too late, it costs a day."""
    found = _read(name)
    assert isinstance(found, UpstreamQuotaExhausted)
    assert found.until == UNTIL[name]


@pytest.mark.parametrize("name", [name for name in _recorded() if name.startswith("stocktwits/")])
def test_recorded_messages_keep_text_author_and_label(name: str) -> None:
    """A label or an author lost in reading is lost for good."""
    found = _read(name)
    if isinstance(found, UpstreamError):
        return
    for item, message in zip(found.items, _envelope(name)["body"]["messages"], strict=True):
        sentiment = message["entities"]["sentiment"]
        assert item.id == str(message["id"])
        assert item.text == html.unescape(message["body"])
        assert item.author == message["user"]["username"]
        assert item.label == (sentiment["basic"].lower() if sentiment else None)


@pytest.mark.parametrize("name", [name for name in _recorded() if name.startswith("reddit/")])
def test_recorded_posts_of_deleted_authors_are_kept(name: str) -> None:
    """What was said is still there when the account is not."""
    found = _read(name)
    if isinstance(found, UpstreamError):
        return
    for item, child in zip(found.items, _envelope(name)["body"]["data"]["children"], strict=True):
        author = child["data"]["author"]
        assert item.author == (None if author in (None, "[deleted]") else author)
        assert item.at == datetime.fromtimestamp(child["data"]["created_utc"], UTC)
