"""Reads what an HTTP answer says besides its items: its JSON, or its error.

The five upstreams word their errors alike, so that a provider only has to read its items.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from tbcache.fetch.http_time import retry_after
from tbcache.fetch.rate_hint import window_end
from tbcache.models import RawResponse
from tbcache.models.coerce import number, record, records, text
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
#: Of an error text at most so many characters are read, and of an error at most so many texts, because an
#: error may be as long as any answer.
_MOST_READ = 8192
_MOST_WORDS = 32
#: An answer may have at most so many values. The largest that is known has 8,314.
_MOST_VALUES = 500_000
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


class ErrorMeaning(NamedTuple):
    """What the error code of an upstream means, where that says more than the HTTP status.

    ``until`` is the moment until which the error holds, where the code tells it.
    """

    kind: type[UpstreamError]
    until: datetime | None = None


Judge = Callable[[Any, RawResponse], ErrorMeaning | None]


def page(source: str, response: RawResponse, judge: Judge | None = None) -> Any:
    """The JSON of a successful answer.

    ``judge`` is asked first what the answer means. It gets the body, which is None where that is not JSON.

    Raises:
      UpstreamError: the answer is an error; the class is that of its meaning.
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
    """``response`` as an error of ``kind``, with the message of the upstream and the moment to ask again."""
    words = message(decode(response.body), response)
    return kind(source, words, status=response.status, retry_at=until or _hint(response, kind))


def unreadable(source: str, response: RawResponse, why: str) -> UpstreamError:
    """The error for a successful answer that cannot be read as a page: the one that its text names, or else a
    payload error.
    """
    body = decode(response.body)
    kind = named(body)
    if kind is not None:
        return failure(source, response, kind)
    words = quoted(next(_words(body), ""), f"{why}: ")
    return UpstreamPayloadError(source, words or why, status=response.status)


def complains(body: Any) -> bool:
    """True where the answer has an error beside its items. Then it may end early, and it does not show that
    there are no more items.
    """
    return any(record(body).get(name) for name in ("error", "errors"))


def named(body: Any) -> type[UpstreamError] | None:
    """The error that the text of an answer names; None where it names none."""
    for words in _words(body):
        for pattern, kind in _BY_WORDS:
            if re.search(pattern, words, re.IGNORECASE):
                return kind
    return None


def kind_of(status: int) -> type[UpstreamError]:
    """The error that an HTTP status means, if the body does not say anything else."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return UpstreamUnavailable
    return UpstreamBadRequest if status >= 400 else UpstreamPayloadError


def decode(body: bytes) -> Any:
    """The JSON in ``body``; None where it is not JSON, or has far more values than any page."""
    if _is_too_much(body):
        return None
    try:
        return read_json(body)
    except NotJson:
        return _decode_leniently(body)


def _is_too_much(body: bytes) -> bool:
    # Once read, a value takes up to a hundred times as many bytes as in the answer, and time of the garbage
    # collector.
    return sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES


def _decode_leniently(body: bytes) -> Any:
    # The strict reader refuses a byte order mark. It also refuses half of a surrogate pair, with which a text
    # may end that the upstream has cut off.
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


def message(body: Any, response: RawResponse) -> str:
    """One short line that says what is wrong, from the upstream's text where there is one."""
    return (
        quoted(next(_words(body), "") or _plain(response.body))
        or _moved(response)
        or _phrase(_stated_status(body) or response.status)
    )


def _words(body: Any) -> Iterator[str]:
    """The texts of an error, the most specific first."""
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


def line(words: str, most: int = _MESSAGE_LENGTH) -> str:
    """``words`` as one line for people, without tags and control characters, of at most ``most``."""
    plain = re.sub(r"<[^<>]*>", " ", text(words[:_MOST_READ]))
    plain = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def quoted(words: str, before: str = "") -> str:
    """``before`` and the upstream's words as such, in one short line: whoever reads "it's our fault" must not
    take them for ours. Empty where there are no words.
    """
    start = f'{before}the upstream says "'
    inner = line(words, _MESSAGE_LENGTH - len(start) - 1).replace('"', "'")
    return f'{start}{inner}"' if inner else ""


def _moved(response: RawResponse) -> str:
    """Where a redirect leads. No redirect is followed."""
    where = response.headers.get("location", "") if 300 <= response.status < 400 else ""
    return line(f"redirected to {where.partition('?')[0]}") if where else ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"


def _hint(response: RawResponse, kind: type[UpstreamError]) -> datetime | None:
    # The reset of a rate window says nothing about a quota or an outage. There only Retry-After counts.
    if kind in (UpstreamQuotaExhausted, UpstreamUnavailable):
        return retry_after(response)
    return window_end(response) if kind is UpstreamThrottled else None
