"""The primary that Sentinel names: whichever server it is now."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

import redis
from redis import connection, sentinel

from tbcache.settings import Settings


class Watched:
    """The servers of one service, and the Sentinels that watch them.

    ``url`` is that of the service: its host is the name that the Sentinels know it by. User, password and
    database are those of the servers. The Sentinels have a ``password`` of their own, or none. Where the
    servers are asked over TLS, so are they.
    """

    def __init__(self, url: str, addresses: tuple[str, ...], password: str | None) -> None:
        self._url = url
        self._addresses = [_address(one) for one in addresses]
        self._password = password
        self._is_tls = urlsplit(url).scheme == "rediss"

    def client(self, options: dict[str, Any]) -> redis.Redis:
        """A client each of whose connections begins by asking for the primary; ``options`` are redis-py's."""
        server: dict[str, Any] = cast(Any, connection.parse_url)(self._url)
        service = server.pop("host")
        # The pool chooses a class of its own, and the Sentinels the address.
        for name in ("port", "connection_class"):
            server.pop(name, None)
        finder = _Finder(self._addresses, {**self._of_sentinels(server), **options})
        pool = cast(Any, sentinel.SentinelConnectionPool)(
            service, finder, ssl=self._is_tls, **server, **options
        )
        return redis.Redis(connection_pool=pool)

    def _of_sentinels(self, server: dict[str, Any]) -> dict[str, Any]:
        tls = {name: value for name, value in server.items() if name.startswith("ssl_")}
        return {"ssl": self._is_tls, "password": self._password, **tls}


class _Finder:
    """What redis-py's pool asks for the primary.

    A ``Sentinel`` of redis-py changes its list of Sentinels while it looks, so that two threads of one may
    lose an entry: each ask has one of its own.
    """

    def __init__(self, addresses: list[tuple[str, int]], options: dict[str, Any]) -> None:
        self._addresses, self._options = addresses, options

    def discover_master(self, service: str) -> tuple[str, int]:
        """
        Raises:
          redis.sentinel.MasterNotFoundError: no Sentinel answers, or none knows of a primary that is alive.
        """
        manager = cast(Any, sentinel.Sentinel)(self._addresses, sentinel_kwargs=self._options)
        try:
            host, port = manager.discover_master(service)
        finally:
            for client in manager.sentinels:
                client.close()
        return host, port


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def watched_by(settings: Settings) -> Watched | None:
    """The servers that Sentinels watch by these settings; None where no Sentinels are set."""
    if not settings.redis_sentinels or settings.redis is None:
        return None
    password = settings.redis_sentinel_password
    return Watched(
        settings.redis, settings.redis_sentinels, password.get_secret_value() if password else None
    )
