"""What the failure of a call means for the whole source, by the response of httpx, httpx2 or requests.

The responses are recognised by their attributes ``status_code`` and ``headers``, so none of these libraries
has to be installed. Their error texts are not passed on, because they contain the URL, which may contain a
key.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from tbcache.fetch import http_response
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


def refusal(source: str, function: str, error: Exception) -> UpstreamError:
    """The exception of a function as an UpstreamError; the exception itself where it is one already."""
    if isinstance(error, UpstreamError):
        return error
    refused = refused_by(source, _attribute(error, "response"))
    if refused is not None:
        return refused
    kind = UpstreamUnavailable if _is_of_the_way(error) else UpstreamError
    return kind(source, f"{function}() raised {type(error).__name__}")


def refused_by(source: str, response: object) -> UpstreamError | None:
    """The error that ``response`` means; None where it is a success, or no response at all."""
    status, headers = _attribute(response, "status_code"), _attribute(response, "headers")
    if not isinstance(status, int) or not isinstance(headers, Mapping) or status < 400:
        return None
    named = {str(name): str(value) for name, value in headers.items()}
    raw = RawResponse(status, named, b"", received_at=utc_now())
    return http_response.failure(source, raw, http_response.kind_of(status))


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
