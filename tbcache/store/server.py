"""What a server tells of itself by INFO, as far as its user may ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError

from tbcache.models.foreign import printable, whole


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What is not known is None. Memory in bytes, uptime in seconds."""

    version: str | None = None
    uptime_seconds: int | None = None
    memory_bytes: int | None = None
    clients: int | None = None


def ask_facts(client: Any) -> ServerFacts:
    """What the server of ``client`` tells.

    Raises:
      redis.RedisError: it does not answer.
    """
    try:
        return facts_of(client.info())
    except NoPermissionError:
        return ServerFacts()


def facts_of(info: Any) -> ServerFacts:
    """The facts in an answer to INFO; an error in its place tells none."""
    if not isinstance(info, dict):
        return ServerFacts()
    name, field = ("Valkey", "valkey_version") if "valkey_version" in info else ("Redis", "redis_version")
    return ServerFacts(
        version=printable(f"{name} {info[field]}", 40) if field in info else None,
        uptime_seconds=whole(info.get("uptime_in_seconds")),
        memory_bytes=whole(info.get("used_memory")),
        clients=whole(info.get("connected_clients")),
    )
