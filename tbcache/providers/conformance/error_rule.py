"""What is no page: refusals, garbage, and what none of them may show."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tbcache.models import HttpRequest, Page, RawResponse
from tbcache.models.error import (
    UpstreamAuthError,
    UpstreamError,
    UpstreamNotEntitled,
    UpstreamNotFound,
    UpstreamQuotaExhausted,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from tbcache.providers.conformance.checked import Checked, Finding

_WAIT = timedelta(seconds=90)
_STATUSES: tuple[tuple[int, tuple[type[UpstreamError], ...]], ...] = (
    (401, (UpstreamAuthError,)),
    (402, (UpstreamQuotaExhausted,)),
    (403, (UpstreamNotEntitled,)),
    (404, (UpstreamNotFound,)),
    (429, (UpstreamThrottled, UpstreamQuotaExhausted)),
    (500, (UpstreamUnavailable,)),
    (503, (UpstreamUnavailable,)),
)
_BODIES = (b"", b'{"error": "something"}', b"<html><title>something</title></html>")


def errors_are_told_apart(checked: Checked) -> Iterator[Finding]:
    for status, kinds in _STATUSES:
        for body in _BODIES:
            said = _said(checked, RawResponse(status, {}, body))
            if not isinstance(said, kinds):
                right = "begin parse() with self.read_json(response), which tells them apart"
                yield Finding(
                    "", f"{status} {body.decode()} is {_kind(said)}, not {kinds[0].__name__}", right
                )
                break


def garbage_is_no_page(checked: Checked) -> Iterator[Finding]:
    for what, body in _garbage(checked):
        said = _said(checked, RawResponse(200, {"content-type": "application/json"}, body))
        if not isinstance(said, UpstreamError):
            right = "raise UpstreamPayloadError: silence that is no answer must not be read as no news"
            yield Finding("", f"a success whose body is {what} is {_kind(said)}", right)


def _garbage(checked: Checked) -> Iterator[tuple[str, bytes]]:
    yield from (("empty", b""), ("HTML", b"<html>busy</html>"), ("null", b"null"))
    if (sample := checked.sample) is not None:
        body = sample.recording.response.body
        yield f"cut off in the middle ({sample.name})", body[: len(body) // 2]


def a_wait_is_heard(checked: Checked) -> Iterator[Finding]:
    response = RawResponse(429, {"retry-after": "90"}, b'{"error": "slow down"}')
    said = _said(checked, response)
    if isinstance(said, UpstreamError) and said.retry_at != response.received_at + _WAIT:
        right = "pass the response to tbcache.fetch.http_response.failure()"
        yield Finding("", f"a 429 with Retry-After: 90 is to be tried again at {said.retry_at}", right)


def _said(checked: Checked, response: RawResponse) -> object:
    """The page or the error that ``response`` is read as."""
    try:
        return checked.parse_as_it_is(response)
    except Exception as error:
        # Whatever else it raises is what is looked for.
        return error


def _kind(said: object) -> str:
    return "a page" if isinstance(said, Page) else type(said).__name__


def nothing_secret(checked: Checked) -> Iterator[Finding]:
    for read, fetch, since in checked.asked:
        for cursor in (None, read.page.next):
            yield from _secret_in(checked, checked.request(fetch, cursor, since), read.name)
        break
    for status, _ in _STATUSES:
        said = str(_said(checked, RawResponse(status, {}, b'{"error": "something"}')))
        if (name := _planted_in(checked, said)) is not None:
            right = "an error tells what the upstream says, and no setting"
            yield Finding("", f"the error of a {status} shows self.settings.{name}", right)


def _secret_in(checked: Checked, request: HttpRequest, where: str) -> Iterator[Finding]:
    parts = (request.url, *request.params.values(), *request.headers.values())
    if (name := _planted_in(checked, " ".join(parts))) is not None:
        right = "sign in auth(), as by tbcache.providers.HeaderAuth: a URL stands in logs and errors"
        yield Finding(where, f"the request shows self.settings.{name}", right)


def _planted_in(checked: Checked, text: str) -> str | None:
    return next((name for name, value in checked.planted.items() if value in text), None)
