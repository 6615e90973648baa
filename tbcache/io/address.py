"""The address that a client comes from."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Of an IPv6 network so many bits are given to each customer: all its addresses are one client.
NETWORK_BITS = 64


def read_address(host: str | None) -> Address | None:
    """The address that ``host`` is, of IPv4 also where it is written as one of IPv6; None for a name."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_at(host: str | None) -> str:
    """Who comes from ``host``, for what is bounded for each: an address, as nobody can make up many of those;
    of IPv6 the network, which has 2^64 of them."""
    address = read_address(host)
    if isinstance(address, ipaddress.IPv6Address) and not address.is_loopback:
        return str(ipaddress.ip_network((address, NETWORK_BITS), strict=False))
    return str(address or host or "")
