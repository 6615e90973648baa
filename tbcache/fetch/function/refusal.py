"""What the failure of a call means for the whole source, by the response of an HTTP client.

The responses are recognised by their attributes, so no client has to be installed: ``status_code`` and
``headers`` of httpx, httpx2 and requests, ``status`` and ``headers`` of aiohttp, urllib and urllib3. Their
error texts are not passed on, because they contain the URL, which may contain a key.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

from tbcache.fetch import http_response
from tbcache.fetch.met import is_of
from tbcache.io import utc_now
from tbcache.models import RawResponse
from tbcache.models.error import UpstreamError, UpstreamUnavailable

#: These errors of httpx, aiohttp and urllib3 mean that there was no connection, so nothing was sent.
_UNSENT = {
    "ClientConnectorError",
    "ConnectError",
    "ConnectTimeout",
    "NewConnectionError",
    "PoolTimeout",
    "UnsupportedProtocol",
}


def refusal(
    source: str, function: str, error: Exception, handled: BaseException | None = None
) -> UpstreamError:
    """The exception of a function as an UpstreamError; the exception itself where it is one already, and of
    no other source.

    ``handled`` is what was being handled already as the function was called.
    """
    if isinstance(error, UpstreamError) and is_of(source, error):
        return error
    for is_stated in (True, False):
        for origin in _origins(error, handled, with_context=not is_stated):
            refused = _refused_with(source, origin)
            if refused is None:
                continue
            # Of what the error was raised from, only that counts which is meant for the next call as well.
            if origin is error or refused.status == 429 or refused.retry_at is not None:
                # What was being handled may be the answer to an earlier try, before one that is billed.
                refused.is_unanswered = not is_stated
                return refused
    kind = UpstreamUnavailable if _is_of_the_way(error) else UpstreamError
    return kind(source, f"{function}() raised {type(error).__name__}")


def refused_by(source: str, response: object) -> UpstreamError | None:
    """The error that ``response`` means; None where it is a success, or no response at all."""
    status = _attribute(response, "status_code") or _attribute(response, "status")
    pairs = _attribute(_attribute(response, "headers"), "items")
    if not isinstance(status, int) or status < 400 or not callable(pairs):
        return None
    return _failure(source, status, {str(name): str(value) for name, value in pairs()})


def _refused_with(source: str, error: BaseException) -> UpstreamError | None:
    """The answer that ``error`` was raised for; None where it is of something else, or of another source."""
    if not is_of(source, error):
        return None
    # Errors of aiohttp and urllib are like a response themselves.
    refused = refused_by(source, _attribute(error, "response")) or refused_by(source, error)
    if refused is None and error.args:
        # Where requests has tried several times, only the words of urllib3 tell the status.
        words = re.fullmatch(r"too many (\d{3}) error responses", str(_attribute(error.args[0], "reason")))
        return _failure(source, int(words[1]), {}) if words else None
    return refused


def _failure(source: str, status: int, headers: dict[str, str]) -> UpstreamError:
    raw = RawResponse(status, headers, b"", received_at=utc_now())
    return http_response.failure(source, raw, http_response.kind_of(status))


def _origins(
    error: BaseException, handled: BaseException | None, *, with_context: bool
) -> Iterator[BaseException]:
    """``error``, what it was raised ``from`` (or ``with_context`` while handling), and the members of groups.

    ``handled`` does not count: the caller may have been at an error of another upstream.
    """
    waiting, seen = [error], {id(handled)}
    while waiting:
        origin = waiting.pop(0)
        if id(origin) not in seen:
            seen.add(id(origin))
            yield origin
            waiting += origin.exceptions if isinstance(origin, BaseExceptionGroup) else ()
            is_alone = origin.__suppress_context__ or not with_context
            before = origin.__cause__ if is_alone else origin.__context__
            waiting += [before] if before is not None else []


def is_unsent(error: Exception) -> bool:
    """True where the error says that there was no connection. An error that it was raised from does not
    count.
    """
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return True
    # An error of requests contains the error of urllib3.
    inner = _attribute(error.args[0], "reason") if error.args else None
    return any(kind.__name__ in _UNSENT for one in (error, inner) for kind in type(one).__mro__)


def _attribute(thing: object, name: str) -> Any:
    """The attribute; None where there is none, or where it is a property that raises."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


def _is_of_the_way(error: Exception) -> bool:
    """True for an error of the connection: an OSError, or one of httpx, whose errors are no OSErrors."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, OSError) or "TransportError" in names
