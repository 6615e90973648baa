"""The span of a request to an upstream."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx2

from tbcache.io.trace import Facts, Span, span
from tbcache.providers.mask import Mask
from tbcache.providers.strip import bare

#: Of any other method the conventions want no name.
_METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
#: A longer URL is cut off.
MOST_SIGNS = 2000
_PORTS = {"http": 80, "https": 443}


def requesting(request: httpx2.Request, mask: Mask) -> Span:
    """The span in which ``request`` is sent. Its URL shows no credential, and the upstream hears nothing of
    it."""
    name = request.method if request.method in _METHODS else "HTTP"
    return span(name, lambda: _facts(request, mask), kind="client")


def record_status(sent: Span, status: int) -> None:
    """Add the status of the answer; one of an error is the error of the request."""
    sent.add({"http.response.status_code": status})
    if status >= 400:
        sent.fail(str(status))


def _facts(request: httpx2.Request, mask: Mask) -> Facts:
    url = str(request.url)
    parts = urlsplit(url)
    return {
        "http.request.method": request.method if request.method in _METHODS else "_OTHER",
        "server.address": parts.hostname or "",
        "server.port": parts.port or _PORTS.get(parts.scheme),
        "url.full": bare(url, mask)[:MOST_SIGNS],
    }
