"""What an answer says about itself: its JSON, its error, its rate-limit headers.

The five upstreams speak dialects of the same few headers. All of them are read
here, told apart by name and magnitude, so that a provider only reads its items.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from tbcache.models import RateHint, RawResponse
from tbcache.models.coerce import count, moment, number, record, records, text
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
from tbcache.models.untrusted import NotJson, read_json

_MESSAGE_LENGTH = 200
#: How much of an error, and of each of its words, is read: it may be as long as an answer may be.
_MOST_READ = 8192
_MOST_WORDS = 32
#: The most values in a whole answer; the largest that is known has 8,314.
_MOST_VALUES = 500_000
_FIRST_TIMESTAMP = 1e9
_LONGEST_WAIT = 366 * 86400.0
_LONGEST_AGE = 366 * 86400.0
_BY_STATUS: dict[int, type[UpstreamError]] = {
    401: UpstreamAuthError,
    402: UpstreamQuotaExhausted,
    403: UpstreamNotEntitled,
    404: UpstreamNotFound,
    408: UpstreamUnavailable,
    410: UpstreamNotFound,
    420: UpstreamThrottled,
    425: UpstreamUnavailable,
    426: UpstreamNotEntitled,
    429: UpstreamThrottled,
    451: UpstreamNotFound,
}
_BY_WORDS: tuple[tuple[str, type[UpstreamError]], ...] = (
    (r"rate.?limit|too many requests", UpstreamThrottled),
    (r"unauthori[sz]ed|authenticat|invalid.(?:grant|client|token|api.?key)", UpstreamAuthError),
    (r"forbidden|not authori[sz]ed|permission", UpstreamNotEntitled),
    (r"not found|does not exist", UpstreamNotFound),
    (r"unavailable|over capacity|bad gateway|time.?out|internal (?:server )?error", UpstreamUnavailable),
    (r"\binvalid\b|bad request", UpstreamBadRequest),
)
_RESETS = ("x-rate-limit-reset", "x-ratelimit-reset")
_UW_RESET = "x-uw-req-per-minute-reset"


class ErrorMeaning(NamedTuple):
    """What an upstream's own error code means, where it says more than the status."""

    kind: type[UpstreamError]
    until: datetime | None = None


Judge = Callable[[Any, RawResponse], ErrorMeaning | None]


def page(source: str, response: RawResponse, judge: Judge | None = None) -> Any:
    """The JSON of a success.

    ``judge`` is asked first, with the body (None where it is no JSON).

    Raises:
      UpstreamError: the one that the answer means.
    """
    body = decode(response.body)
    verdict = judge(body, response) if judge else None
    if verdict is not None:
        raise failure(source, response, *verdict)
    status = _stated_status(body) or response.status
    if not 200 <= status < 300:
        raise failure(source, response, kind_of(status))
    if body is None:
        raise unreadable(source, response, _why_unreadable(response.body))
    return body


def failure(
    source: str, response: RawResponse, kind: type[UpstreamError], until: datetime | None = None
) -> UpstreamError:
    """The error of ``kind`` that ``response`` is, with its own words and its hint when to come back."""
    words = message(decode(response.body), response)
    return kind(source, words, status=response.status, retry_at=until or _hint(response, kind))


def unreadable(source: str, response: RawResponse, why: str) -> UpstreamError:
    """What a success is that is no page: the error it names, or else a payload error."""
    body = decode(response.body)
    kind = named(body)
    if kind is not None:
        return failure(source, response, kind)
    words = line(next(_words(body), ""))
    return UpstreamPayloadError(source, f"{why}: {words}" if words else why, status=response.status)


def complains(body: Any) -> bool:
    """True where an error stands in the answer beside its items: what it says of its end is then no word."""
    return any(record(body).get(name) for name in ("error", "errors"))


def named(body: Any) -> type[UpstreamError] | None:
    """The error that an answer names in words only, where it names one."""
    for words in _words(body):
        for pattern, kind in _BY_WORDS:
            if re.search(pattern, words, re.IGNORECASE):
                return kind
    return None


def kind_of(status: int) -> type[UpstreamError]:
    """The error that an HTTP status means, where the body says nothing else."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return UpstreamUnavailable
    return UpstreamBadRequest if status >= 400 else UpstreamPayloadError


def decode(body: bytes) -> Any:
    """The JSON in ``body``; None where there is none, or far more of it than a page has."""
    if _is_too_much(body):
        return None
    try:
        return read_json(body)
    except NotJson:
        return _decode_leniently(body)


def _is_too_much(body: bytes) -> bool:
    # Each value takes up to a hundred times the bytes that it came in, and the collector's time.
    return sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES


def _decode_leniently(body: bytes) -> Any:
    # The strict reader refuses a byte order mark, and half a surrogate pair, which cut texts end in.
    try:
        return json.loads(body.decode("utf-8-sig", "replace"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _stated_status(body: Any) -> int | None:
    """The error status in a body like ``{"error": 403}`` or ``{"response": {"status": 429}}``."""
    outer = record(body)
    for value in (outer.get("error"), outer.get("status"), record(outer.get("response")).get("status")):
        status = number(value)
        if status is not None and 400 <= status <= 599:
            return int(status)
    return None


def _why_unreadable(body: bytes) -> str:
    head = body.lstrip()[:1]
    if not head:
        return "the answer is empty"
    if head == b"<":
        return "the answer is HTML, not JSON"
    if _is_too_much(body):
        return f"the answer holds more than {_MOST_VALUES} values"
    return "the answer is cut off" if head in (b"{", b"[") else "the answer is not JSON"


# -- messages ---------------------------------------------------------------------------------


def message(body: Any, response: RawResponse) -> str:
    """One short line, in the upstream's own words where it has any."""
    words = line(next(_words(body), "") or _plain(response.body))
    return words or _moved(response) or _phrase(_stated_status(body) or response.status)


def _words(body: Any) -> Iterator[str]:
    """What an error says in words, the most telling first."""
    return itertools.islice(_all_words(body), _MOST_WORDS)


def _all_words(body: Any) -> Iterator[str]:
    outer = record(body)
    for part in (*records(outer.get("errors")), outer):
        for name in ("message", "detail", "msg", "error_description", "error", "code", "title", "reason"):
            if isinstance(part.get(name), str) and part[name].strip():
                yield _with_reason(part[name][:_MOST_READ], part.get("reason"))


def _with_reason(words: str, reason: object) -> str:
    return f"{words}: {reason}" if isinstance(reason, str) and reason[:_MOST_READ] not in words else words


def _plain(body: bytes) -> str:
    written = body[:65536].decode("utf-8", "replace")
    if not written.lstrip().startswith("<"):
        return "" if written.lstrip()[:1] in ("{", "[", '"') else written
    title = re.search(r"<title[^<>]*>([^<]*)", written, re.IGNORECASE)
    return title.group(1) if title else ""


def line(words: str) -> str:
    """``words`` as one short line for people: no tags, no control characters."""
    plain = re.sub(r"<[^<>]*>", " ", text(words[:_MOST_READ]))
    plain = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return plain if len(plain) <= _MESSAGE_LENGTH else plain[: _MESSAGE_LENGTH - 1] + "…"


def _moved(response: RawResponse) -> str:
    """Where a redirect leads; none is followed."""
    where = response.headers.get("location", "") if 300 <= response.status < 400 else ""
    return line(f"redirected to {where.partition('?')[0]}") if where else ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"


# -- times ------------------------------------------------------------------------------------


def upstream_now(response: RawResponse) -> datetime:
    """The upstream's clock when ``response`` was received, to the second; ours where it does not say."""
    said = _http_date(response.headers.get("date", ""))
    return response.received_at if said is None else said + _age(response)


def by_our_clock(response: RawResponse, moment: datetime | None) -> datetime | None:
    """A moment of the upstream's clock, by ours; None where there is none.

    Date is cut to whole seconds and the answer has been under way, so that what comes out is at
    most that much too late (about 1 s), and never too early.
    """
    try:
        return moment and moment + (response.received_at - upstream_now(response))
    except OverflowError:
        return None


def after(response: RawResponse, seconds: float) -> datetime | None:
    """``seconds`` after ``response`` was received; None where that is no sensible wait.

    No clock but ours is asked: a wait that an upstream states does not depend on its own.
    """
    return response.received_at + timedelta(seconds=seconds) if 0 <= seconds <= _LONGEST_WAIT else None


def renewal(response: RawResponse, rule: Callable[[datetime], datetime]) -> datetime | None:
    """When an allowance starts anew, by our clock: ``rule`` says it by the upstream's, as its midnight."""
    return by_our_clock(response, rule(upstream_now(response)))


def _age(response: RawResponse) -> timedelta:
    """How long a cache on the way has kept the answer since its Date."""
    seconds = number(response.headers.get("age"))
    return timedelta(seconds=seconds) if seconds is not None and 0 <= seconds <= _LONGEST_AGE else timedelta()


def next_midnight(start: datetime) -> datetime:
    """The next UTC midnight."""
    day = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1)


def next_month(start: datetime) -> datetime:
    """The first moment of the next month, in UTC."""
    today = next_midnight(start) - timedelta(days=1)
    return (today.replace(day=28) + timedelta(days=4)).replace(day=1)


def retry_after(response: RawResponse) -> datetime | None:
    """``Retry-After``, in seconds or as a date."""
    value = response.headers.get("retry-after", "")
    seconds = number(value)
    return by_our_clock(response, _http_date(value)) if seconds is None else after(response, seconds)


def _hint(response: RawResponse, kind: type[UpstreamError]) -> datetime | None:
    # The reset of a rate window says nothing of a quota or an outage, so only
    # Retry-After is believed there.
    if kind in (UpstreamQuotaExhausted, UpstreamUnavailable):
        return retry_after(response)
    return _window_end(response) if kind is UpstreamThrottled else None


def _window_end(response: RawResponse) -> datetime | None:
    """When to ask again: the first hint that lies ahead, so that ``Retry-After: 0`` does not win."""
    hints = [retry_after(response), *(_reset(response, name) for name in (*_RESETS, _UW_RESET))]
    known = [hint for hint in hints if hint is not None]
    return next((hint for hint in known if hint > response.received_at), known[0] if known else None)


def _reset(response: RawResponse, name: str) -> datetime | None:
    value = number(response.headers.get(name))
    if value is None or value < 0:
        return None
    if name == _UW_RESET:
        return after(response, value / 1000)
    return by_our_clock(response, moment(value)) if value >= _FIRST_TIMESTAMP else after(response, value)


def _http_date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if 1970 <= found.year < 9000 else None


# -- rate hints -------------------------------------------------------------------------------


def hints(response: RawResponse) -> tuple[RateHint, ...]:
    """What the headers say is left of the upstream's windows."""
    names = [
        (f"{prefix}-remaining", f"{prefix}-reset", f"{prefix}-limit", f"{prefix}-used")
        for prefix in ("x-rate-limit", "x-ratelimit", "x-app-limit-24hour", "x-user-limit-24hour")
    ]
    names.append(("x-uw-req-per-minute-remaining", _UW_RESET, "", ""))
    found = (_rate_hint(response, *four) for four in names)
    return tuple(hint for hint in found if hint is not None)


def _rate_hint(response: RawResponse, remaining: str, reset: str, limit: str, used: str) -> RateHint | None:
    left = count(response.headers.get(remaining))
    reset_at = _reset(response, reset)
    if left is None or reset_at is None:
        return None
    most, spent = count(response.headers.get(limit)), count(response.headers.get(used))
    return RateHint(left, reset_at, left + spent if most is None and spent is not None else most)
