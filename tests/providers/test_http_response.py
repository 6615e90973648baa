"""Statuses, messages, times and rate headers: what the five upstreams have in common."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest

from tbcache.fetch import http_time, rate_hint
from tbcache.models import RateHint
from tbcache.models.error import (
    UpstreamAuthError,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamNotEntitled,
    UpstreamNotFound,
    UpstreamPayloadError,
    UpstreamQuotaExhausted,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from tests.providers.kit import NOW, answer, provider

ALL = ("twitter", "reddit", "news", "options", "stocktwits")
AN_HOUR = timedelta(hours=1)


def refused(source: str, *what: object, **more: object) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        provider(source).parse(answer(*what, **more))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, UpstreamPayloadError),
        (400, UpstreamBadRequest),
        (401, UpstreamAuthError),
        (402, UpstreamQuotaExhausted),
        (403, UpstreamNotEntitled),
        (404, UpstreamNotFound),
        (408, UpstreamUnavailable),
        (409, UpstreamBadRequest),
        (413, UpstreamBadRequest),
        (414, UpstreamBadRequest),
        (415, UpstreamBadRequest),
        (422, UpstreamBadRequest),
        (426, UpstreamNotEntitled),
        (429, UpstreamThrottled),
        (451, UpstreamNotFound),
        (500, UpstreamUnavailable),
        (502, UpstreamUnavailable),
        (503, UpstreamUnavailable),
        (504, UpstreamUnavailable),
        (520, UpstreamUnavailable),
        (522, UpstreamUnavailable),
    ],
)
def test_a_status_means_the_same_error_in_every_source(status: int, kind: type[UpstreamError]) -> None:
    """Callers act on the class: whether to wait, to pay, to fix a key or to give up."""
    for source in ALL:
        for body in (b"", b"{}", b"<html><body>no</body></html>", b"Bad Request"):
            found = refused(source, body, status)
            assert type(found) is kind
            assert found.status == status


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"null",
        b"7",
        b'"ok"',
        b"true",
        b"{}",
        b'{"hello": "world"}',
        b"[7]",
        b'{"data": [',
        b"<!doctype html><title>Hi</title>",
        b"\xff\xfe\x00",
        b"[" * 5000,
    ],
)
def test_a_success_that_is_no_page_is_a_payload_error(source: str, body: bytes) -> None:
    """Read as an empty page it would say "nobody talks about it", which nobody said."""
    for status in (200, 201, 204, 205):
        assert type(refused(source, body, status)) is UpstreamPayloadError


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Rate limit exceeded. Client may not make more than 200 requests an hour.", UpstreamThrottled),
        ("Could not authenticate you", UpstreamAuthError),
        ("You do not have permission to see this", UpstreamNotEntitled),
        ("Symbol not found", UpstreamNotFound),
        ("Over capacity", UpstreamUnavailable),
        ("Invalid cursor", UpstreamBadRequest),
        ("Computer says no", UpstreamPayloadError),
    ],
)
def test_a_success_of_nothing_but_an_error_is_the_error_it_names(
    source: str, words: str, kind: type[UpstreamError]
) -> None:
    """Some answer 200 to everything, and only words are left to tell a wrong key from a busy server."""
    found = refused(source, {"errors": [{"message": words}]})
    assert type(found) is kind
    assert words in found.message


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize(
    "body",
    [{"error": 404}, {"status": "404"}, {"response": {"status": 404}}, {"response": {"status": "404"}}],
)
def test_a_body_that_states_its_status_goes_before_that_of_the_answer(source: str, body: object) -> None:
    """Proxies answer 200 to what they could fetch."""
    found = refused(source, body)
    assert (type(found), found.message) == (UpstreamNotFound, "Not Found")


def test_a_redirect_says_where_it_leads() -> None:
    """None is followed, and it is mostly a wrong base URL."""
    found = refused("news", b"", 301, {"Location": "https://elsewhere.example/v2?q=AAPL"})
    assert found.message == "redirected to https://elsewhere.example/v2"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "Forbidden", "error": 403, "reason": "private"}, "Forbidden: private"),
        ({"title": "Forbidden", "detail": "Enroll your app."}, "Enroll your app."),
        ({"errors": [{"message": "No  such\nsymbol"}], "title": "Invalid"}, "No such symbol"),
        ({"path": "/x", "msg": "Invalid path input", "query": ""}, "Invalid path input"),
        ({"code": "advanced_tier_required"}, "advanced_tier_required"),
        (b"<html><title>Too &amp; Many</title><b>x</b></html>", "Too & Many"),
        (b"<html><body>whoa there</body></html>", "Forbidden"),
        (b'plain "words"\x07', "plain 'words'"),
        ({}, "Forbidden"),
    ],
)
def test_a_message_is_one_line_in_the_words_of_the_upstream(body: object, message: str) -> None:
    """It is what an operator reads first, on a terminal, and must not take for ours."""
    quoted = message if message == "Forbidden" else f'the upstream says "{message}"'
    assert refused("options", body, 403).message == quoted


def test_a_long_message_is_cut() -> None:
    """An upstream's essay belongs in no log line."""
    message = refused("news", {"message": "word " * 500}, 400).message
    assert len(message) == 200
    assert message.endswith('…"')


def test_a_long_message_of_an_unreadable_answer_is_cut() -> None:
    """What could not be read is said first, and both together are as short."""
    message = refused("news", {"message": "word " * 500}, 200).message
    assert len(message) == 200
    assert message.endswith('…"')


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "4"}, NOW + timedelta(seconds=4)),
        ({"retry-after": "0"}, NOW),
        ({"retry-after": "1.5"}, NOW + timedelta(seconds=1.5)),
        ({"retry-after": "Tue, 28 Jul 2026 22:00:00 GMT"}, NOW + AN_HOUR),
        ({"retry-after": "4, 60"}, NOW + timedelta(seconds=60)),
        ({"retry-after": "Tue, 28 Jul 2026 22:00:00 GMT , 4"}, NOW + AN_HOUR),
        ({"retry-after": "4,soon"}, NOW + timedelta(seconds=4)),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "9" * 30}, None),
        ({"X-Rate-Limit-Reset": str(int(NOW.timestamp()) + 3600)}, NOW + AN_HOUR),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 3600)}, NOW + AN_HOUR),
        ({"x-ratelimit-reset": "104"}, NOW + timedelta(seconds=104)),
        ({"x-uw-req-per-minute-reset": "60000"}, NOW + timedelta(minutes=1)),
        ({"retry-after": "0", "x-ratelimit-reset": "104"}, NOW + timedelta(seconds=104)),
        ({"retry-after": "4", "x-ratelimit-reset": "104"}, NOW + timedelta(seconds=4)),
    ],
)
def test_every_header_dialect_says_when_to_come_back(
    headers: dict[str, str], expected: datetime | None
) -> None:
    """Delta seconds read as an epoch, or milliseconds as seconds, would burn or freeze a source."""
    for source in ALL:
        assert refused(source, b"", 429, headers).retry_at == expected


def test_an_outage_believes_retry_after_but_no_window() -> None:
    """The end of a rate window says nothing about the end of an outage."""
    headers = {"x-ratelimit-reset": "600"}
    assert refused("reddit", b"", 503, headers).retry_at is None
    assert refused("reddit", b"", 503, {**headers, "retry-after": "9"}).retry_at == NOW + timedelta(seconds=9)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, ()),
        ({"x-rate-limit-remaining": "3"}, ()),
        (
            {"x-rate-limit-remaining": "3", "x-rate-limit-limit": "450", "x-rate-limit-reset": "1785276000"},
            (RateHint(3, datetime(2026, 7, 28, 22, tzinfo=UTC), 450),),
        ),
        (
            {"x-ratelimit-remaining": "986.0", "x-ratelimit-used": "14", "x-ratelimit-reset": "60"},
            (RateHint(986, NOW + timedelta(minutes=1), 1000),),
        ),
        (
            {"X-RateLimit-Remaining": "-1", "X-RateLimit-Limit": "200", "X-RateLimit-Reset": "1785276000"},
            (RateHint(0, datetime(2026, 7, 28, 22, tzinfo=UTC), 200),),
        ),
        (
            {"x-uw-req-per-minute-remaining": "119", "x-uw-req-per-minute-reset": "30000"},
            (RateHint(119, NOW + timedelta(seconds=30), None),),
        ),
        ({"x-ratelimit-remaining": "nan", "x-ratelimit-reset": "inf"}, ()),
    ],
)
def test_the_headers_of_a_success_say_what_is_left(
    headers: dict[str, str], expected: tuple[RateHint, ...]
) -> None:
    """A limit lowered by the upstream is kept only if it is heard."""
    assert rate_hint.hints(answer(b"", 200, headers)) == expected


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("reddit", {"kind": "Listing", "data": {"children": []}}),
        ("stocktwits", {"messages": []}),
        ("twitter", {"meta": {"result_count": 0}}),
        ("news", {"status": "ok", "totalResults": 0, "articles": []}),
        ("options", {"data": []}),
        ("options", []),
    ],
)
def test_an_empty_page_is_a_page_with_its_hints(source: str, body: object) -> None:
    """Silence is an answer: an empty weekend is no fault, and its headers count as much."""
    page = provider(source).parse(answer(body, 200, {"x-ratelimit-remaining": "5", "x-ratelimit-reset": "9"}))
    assert page.items == ()
    assert page.next is None
    assert [hint.remaining for hint in page.hints] == [5]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": 403, "message": "Forbidden"}, UpstreamNotEntitled),
        ({"response": {"status": 429}, "errors": [{"message": "slow"}]}, UpstreamThrottled),
        ({"response": {"status": 404}, "errors": [{"message": "Symbol not found"}]}, UpstreamNotFound),
        ({"title": "x", "status": 503}, UpstreamUnavailable),
    ],
)
def test_a_status_in_the_body_goes_before_a_200(body: object, kind: type[UpstreamError]) -> None:
    """Gateways answer 200 around an error that the body spells out."""
    assert type(refused("stocktwits", body)) is kind


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (datetime(2026, 1, 31, 23, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        (datetime(2026, 12, 15, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        (datetime(2028, 2, 29, 5, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)),
    ],
)
def test_the_next_month_starts_on_its_first(start: datetime, expected: datetime) -> None:
    """A monthly quota asked a day early is refused, and may be billed."""
    assert http_time.next_month(start) == expected


def test_a_text_cut_inside_an_emoji_costs_no_page() -> None:
    """Upstreams cut texts at a number of UTF-16 units; one such text must not lose 99 others."""
    body = b'{"status":"ok","totalResults":1,"articles":[{"url":"https://x.test/1","title":"up \\ud83d"}]}'
    (item,) = provider("news").parse(answer(body)).items
    assert item.text.startswith("up ")
    item.text.encode()


def test_a_byte_order_mark_is_no_obstacle() -> None:
    """Some gateways put one in front of good JSON."""
    assert provider("options").parse(answer(b'\xef\xbb\xbf{"data": []}')).items == ()


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("part", [b"[],", b'{"":0},', b"[" * 900 + b"]" * 900 + b","])
def test_an_answer_of_far_too_many_values_is_not_unfolded(source: str, part: bytes) -> None:
    """Its few megabytes would take hundreds, and seconds of a worker, and many workers ask at once."""
    body = b'{"data": [' + part * (2_000_000 // len(part)) + b"0]}"
    for status, kind in ((200, UpstreamPayloadError), (429, UpstreamThrottled)):
        tracemalloc.start()
        try:
            found = refused(source, body, status)
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()
        assert type(found) is kind
    assert "more than 500000 values" in refused(source, body).message
