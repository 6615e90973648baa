"""How many connections a web server has at once, and of whom."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network

from tbcache.io.address import client_at, read_address
from tbcache.io.share import Shares


class WebPlaces:
    """``count`` connections that are answered, and as many that are told to come again.

    Those of ``proxies`` are of many clients, which a proxy bounds itself.
    """

    def __init__(self, count: int, proxies: Collection[IPv4Network | IPv6Network] = ()) -> None:
        self.answered, self.refused = Shares(count), Shares(count)
        self._proxies = proxies

    def client(self, host: str) -> str | None:
        """Whose a connection from ``host`` is; None where it is of many."""
        address = read_address(host)
        is_proxy = address is not None and any(address in one for one in self._proxies)
        return None if is_proxy else client_at(host)
