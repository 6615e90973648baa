"""Who asks, from where, and on whose behalf.

The proxies that are trusted (``TBCACHE_API_TRUSTED_PROXIES``) are believed, by uvicorn: who asks, and whether
by TLS, is what they say. Of all others it is only noted that they ask for somebody else.
"""

from __future__ import annotations

import ipaddress
from typing import TypeAlias
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

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
#: Of an IPv6 network so many bits are given to each customer: all its addresses are one client.
NETWORK_BITS = 64

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_of(scope: Scope) -> str:
    """Who has sent a request, for what is bounded for each: an address, as nobody can make up many of those;
    of IPv6 the network, which has 2^64 of them."""
    name, address = _client(scope), _address(_client(scope))
    if not isinstance(address, ipaddress.IPv6Address) or address.is_loopback:
        return name or ""
    return str(ipaddress.ip_network((address, NETWORK_BITS), strict=False))


def is_forwarded(headers: Headers) -> bool:
    """True for who asks on somebody else's behalf, and says so."""
    return any(name in headers for name in _FORWARDED)


def is_of_this_machine(scope: Scope, headers: Headers) -> bool:
    """True for who asks from loopback, and on nobody else's behalf.

    A proxy that is trusted asks for others, also where it does not say for whom.
    """
    address = _address(_client(scope))
    if address is None or not address.is_loopback or is_forwarded(headers):
        return False
    return not any(address in proxy for proxy in scope["app"].state.context.settings.api_trusted_proxies)


def is_loopback(host: str | None) -> bool:
    """True for localhost and every address of the loopback network."""
    address = _address(host)
    return address.is_loopback if address else (host or "").lower().rstrip(".") == "localhost"


def is_address(host: str | None) -> bool:
    """True for an IP address, which no name server can have resolve to another."""
    return _address(host) is not None


def read_host(url: str) -> str | None:
    """The host of ``url``; None where there is none, or it is malformed."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _client(scope: Scope) -> str | None:
    return scope["client"][0] if scope.get("client") else None


def _address(host: str | None) -> _Address | None:
    """The address that ``host`` is; of IPv4 also where it is written as one of IPv6."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
