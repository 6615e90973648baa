"""Two clocks: the upstream's, which its answers speak of, and ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tbcache.fetch import rate_hint
from tbcache.models import RawResponse
from tbcache.models.error import UpstreamError
from tests.providers.kit import NOW, answer, provider

ALL = ("twitter", "reddit", "news", "options", "stocktwits")
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
#: How the upstreams say "in so many seconds", given the moment by their own clock.
DIALECTS = {
    "retry-after, seconds": lambda now, wait: {"retry-after": str(wait)},
    "retry-after, date": lambda now, wait: {"retry-after": _http(now + timedelta(seconds=wait))},
    "reset, epoch": lambda now, wait: {"x-rate-limit-reset": str(int(now.timestamp()) + wait)},
    "reset, seconds": lambda now, wait: {"x-ratelimit-reset": str(wait)},
    "reset, milliseconds": lambda now, wait: {"x-uw-req-per-minute-reset": str(wait * 1000)},
}
OFFSETS = st.timedeltas(-DAY, DAY)
TIMES = st.datetimes(datetime(2010, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def _http(at: datetime) -> str:
    return format_datetime(at.replace(microsecond=0), usegmt=True)


def _refusal(offset: timedelta, wait: int, dialect: str, received_at: datetime = NOW) -> RawResponse:
    """A 429 from a server whose clock is ``offset`` ahead of ours, as it left there just now."""
    theirs = received_at + offset
    return answer(b"", 429, {"date": _http(theirs), **DIALECTS[dialect](theirs, wait)}, received_at)


def _retry_at(source: str, response: RawResponse) -> datetime:
    with pytest.raises(UpstreamError) as caught:
        provider(source).parse(response)
    assert caught.value.retry_at is not None
    return caught.value.retry_at


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=60, deadline=None, database=None)
@given(offset=OFFSETS, wait=st.integers(1, 3600), received_at=TIMES)
@example(offset=timedelta(hours=1), wait=4, received_at=NOW)
@example(offset=timedelta(hours=-1, microseconds=1), wait=4, received_at=NOW)
def test_a_wait_does_not_depend_on_the_servers_clock(
    dialect: str, offset: timedelta, wait: int, received_at: datetime
) -> None:
    """A server an hour ahead would turn "in 4 s" into an hour, for the whole fleet; ours may be wrong."""
    found = _retry_at("reddit", _refusal(offset, wait, dialect, received_at)) - received_at
    # Their moment is cut to whole seconds, in the Date and in the reset: asked early, they refuse again.
    assert timedelta(0) <= found - timedelta(seconds=wait) <= SECOND


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_source_reads_a_wait_by_our_clock(source: str, dialect: str) -> None:
    """The rule is one for all, or one source is shut for an hour again."""
    found = _retry_at(source, _refusal(timedelta(hours=1), 4, dialect))
    assert found == NOW + timedelta(seconds=4)


@settings(max_examples=60, deadline=None, database=None)
@given(offset=OFFSETS, left=st.integers(0, 3600))
def test_what_is_left_of_a_window_ends_by_our_clock(offset: timedelta, left: int) -> None:
    """A hint that ends an hour too late lowers our limit for an hour."""
    theirs = NOW + offset
    reset = {
        "x-rate-limit-remaining": "3",
        "x-rate-limit-reset": str(int(theirs.timestamp()) + left),
        "x-app-limit-24hour-remaining": "3",
        "x-app-limit-24hour-reset": str(int(theirs.timestamp()) + left),
        "x-uw-req-per-minute-remaining": "3",
        "x-uw-req-per-minute-reset": str(left * 1000),
    }
    hints = rate_hint.hints(answer(b"", 200, {"date": _http(theirs), **reset}))
    assert len(hints) == 3
    for hint in hints:
        assert timedelta(0) <= hint.reset_at - NOW - timedelta(seconds=left) <= SECOND


@pytest.mark.parametrize(
    ("source", "body", "headers", "wait"),
    [
        ("twitter", {"title": "UsageCapExceeded", "period": "Daily"}, {}, timedelta(hours=2)),
        ("twitter", {"title": "UsageCapExceeded", "period": "Monthly"}, {}, timedelta(days=3, hours=2)),
        ("options", {"code": "daily_request_limit_hit"}, {}, timedelta(hours=2)),
        ("news", {"status": "error", "code": "rateLimited", "message": "50 per 12 hours"}, {}, DAY / 2),
        (
            "twitter",
            {},
            {"x-app-limit-24hour-remaining": "0", "x-app-limit-24hour-reset": "1785283200"},
            timedelta(hours=2),
        ),
    ],
)
def test_a_quota_starts_anew_at_the_upstreams_own_midnight(
    source: str, body: object, headers: dict[str, str], wait: timedelta
) -> None:
    """At ours it would still refuse; and what its clock calls midnight, ours may call 21:00."""
    theirs = datetime(2026, 7, 28, 22, tzinfo=UTC)
    response = answer(body, 429, {"date": _http(theirs), **headers}, NOW)
    assert _retry_at(source, response) == NOW + wait


def test_an_answer_that_a_cache_has_kept_says_so_in_its_age() -> None:
    """Its Date is old then, and their clock need not be wrong for that."""
    headers = {"date": _http(NOW - DAY / 24), "age": "3600", "x-rate-limit-reset": "1785276000"}
    assert _retry_at("twitter", answer(b"", 429, headers)) == datetime(2026, 7, 28, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Mon, 99 May 2021 99:00:00 GMT", "Mon, 24 May 9999 00:00:00 GMT"]
)
def test_a_broken_date_is_as_none(date: str) -> None:
    """A hint is worth having even where the header beside it is nonsense."""
    for headers in ({"retry-after": "3600"}, {"x-rate-limit-reset": "1785276000"}):
        assert _retry_at("reddit", answer(b"", 429, {"date": date, **headers})) == NOW + DAY / 24


ABSURD = ("1e308", "-1e308", "9" * 400, "-1", "nan", "inf", "1e11", "4102444800", "1e-320", "", "\u0665")
DATES = ("", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 8999 23:59:59 GMT", "1e308")


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("status", [200, 429, 503])
def test_absurd_figures_in_headers_are_survived(source: str, date: str, status: int) -> None:
    """They come from other machines, and whoever dies of one is asked the same again."""
    names = (
        *("retry-after", "x-rate-limit-reset", "x-rate-limit-remaining", "x-rate-limit-limit"),
        *("x-ratelimit-reset", "x-ratelimit-remaining", "x-ratelimit-used", "x-uw-req-per-minute-reset"),
        *("x-uw-daily-req-count", "x-uw-token-req-limit", "age"),
        *("x-app-limit-24hour-remaining", "x-app-limit-24hour-reset"),
    )
    for value in ABSURD:
        response = answer({}, status, {**dict.fromkeys(names, value), "date": date})
        with pytest.raises(UpstreamError) as caught:
            provider(source).parse(response)
        assert caught.value.retry_at is None or caught.value.retry_at.tzinfo is UTC
        for hint in rate_hint.hints(response):
            assert 0 <= hint.remaining <= 1e9
            assert 0 <= (hint.limit or 0) <= 2e9
