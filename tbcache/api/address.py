"""Who asks, from where, and on whose behalf.

The proxies that are trusted (``TBCACHE_API_TRUSTED_PROXIES``) are believed, by uvicorn: who asks, and whether
by TLS, is what they say. Of all others it is only noted that they ask for somebody else.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from tbcache.io.address import client_at, read_address

#: By these a proxy says that it asks for somebody else: RFC 9110 and 7239, and what is usual beside them.
_FORWARDED = (
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
)


def client_of(scope: Scope) -> str:
    """Who has sent a request, for what is bounded for each."""
    return client_at(_client(scope))


def is_forwarded(headers: Headers) -> bool:
    """True for who asks on somebody else's behalf, and says so."""
    return any(name in headers for name in _FORWARDED)


def is_of_this_machine(scope: Scope, headers: Headers) -> bool:
    """True for who asks from loopback, and on nobody else's behalf.

    A proxy that is trusted asks for others, also where it does not say for whom.
    """
    address = read_address(_client(scope))
    if address is None or not address.is_loopback or is_forwarded(headers):
        return False
    return not any(address in proxy for proxy in scope["app"].state.context.settings.api_trusted_proxies)


def is_loopback(host: str | None) -> bool:
    """True for localhost and every address of the loopback network."""
    address = read_address(host)
    return address.is_loopback if address else (host or "").lower().rstrip(".") == "localhost"


def is_address(host: str | None) -> bool:
    """True for an IP address, which no name server can have resolve to another."""
    return read_address(host) is not None


def read_host(url: str) -> str | None:
    """The host of ``url``; None where there is none, or it is malformed."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _client(scope: Scope) -> str | None:
    return scope["client"][0] if scope.get("client") else None
