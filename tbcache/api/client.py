"""Who asks, for what is bounded for each: an address, as nobody can make up many of those."""

from __future__ import annotations

import ipaddress

from starlette.types import Scope

#: Of an IPv6 network so many bits are given to each customer: all its addresses are one client.
NETWORK_BITS = 64


def client_of(scope: Scope) -> str:
    """The address of who has sent a request; that of its network where it has 2^64 of them."""
    address = scope["client"][0] if scope.get("client") else ""
    try:
        network = ipaddress.ip_network((address, NETWORK_BITS), strict=False)
    except ValueError:
        return str(address)
    return str(network) if network.version == 6 and not network.is_loopback else str(address)
