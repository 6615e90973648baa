"""What a call's failure means for the others: read off the response of httpx, httpx2 or requests.

Their classes are known by what they have, ``status_code`` and ``headers``: none of them need be installed.
Nothing of their text is passed on, since it holds the URL, and that may hold a key.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from tbcache.fetch import http_response
from tbcache.io import utc_now
from tbcache.models import RawResponse
from tbcache.models.error import UpstreamError, UpstreamUnavailable

#: The errors of httpx, aiohttp and urllib3 that say that nothing was sent, as nobody was there.
_UNSENT = {
    "ClientConnectorError",
    "ConnectError",
    "ConnectTimeout",
    "NewConnectionError",
    "PoolTimeout",
    "UnsupportedProtocol",
}


def refusal(source: str, function: str, error: Exception) -> UpstreamError:
    """The failure that an exception of a function is; itself, where it is one already."""
    if isinstance(error, UpstreamError):
        return error
    refused = refused_by(source, _attribute(error, "response"))
    if refused is not None:
        return refused
    kind = UpstreamUnavailable if _is_of_the_way(error) else UpstreamError
    return kind(source, f"{function}() raised {type(error).__name__}")


def refused_by(source: str, response: object) -> UpstreamError | None:
    """The refusal that ``response`` is; None where it is a success, or no response."""
    status, headers = _attribute(response, "status_code"), _attribute(response, "headers")
    if not isinstance(status, int) or not isinstance(headers, Mapping) or status < 400:
        return None
    named = {str(name): str(value) for name, value in headers.items()}
    raw = RawResponse(status, named, b"", received_at=utc_now())
    return http_response.failure(source, raw, http_response.kind_of(status))


def is_unsent(error: Exception) -> bool:
    """True where there was no connection: an error that says so itself, not one that came before it."""
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return True
    # An error of requests holds the one of urllib3.
    inner = _attribute(error.args[0], "reason") if error.args else None
    return any(kind.__name__ in _UNSENT for one in (error, inner) for kind in type(one).__mro__)


def _attribute(thing: object, name: str) -> Any:
    """None where there is none, and where it is a property that raises."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


def _is_of_the_way(error: Exception) -> bool:
    """True where no answer came: of sockets, and of httpx, whose errors are no OSError."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, OSError) or "TransportError" in names
