"""What a server tells of itself: its time, whether it works, and by INFO as far as its user may ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from tbcache.models.untrusted import printable, whole_number
from tbcache.store.reply import record
from tbcache.store.script import Key, Script


class AskTime(NamedTuple):
    """The clock of the server that holds a source's keys."""

    state: Key


class Time(NamedTuple):
    """Seconds since the Unix epoch, and microseconds beyond."""

    seconds: int
    micros: int


class Probe(NamedTuple):
    """Does the server accept what the other scripts do?"""

    probe: Key
    ttl_ms: int
    commands: tuple[str, ...] = ()


class Probed(NamedTuple):
    """It does; but these commands the user may not run."""

    denied: tuple[str, ...]


TIME = Script("time", AskTime, record(Time))
PROBE = Script("probe", Probe, record(Probed))


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What is not known is None. Memory in bytes, uptime in seconds; ``most_memory_bytes`` is 0 where
    there is no bound.

    ``append_only``: it writes what it is told to a file at once. ``eviction_policy`` says which keys it
    throws away when its memory is full.
    """

    version: str | None = None
    uptime_seconds: int | None = None
    memory_bytes: int | None = None
    clients: int | None = None
    append_only: bool | None = None
    eviction_policy: str | None = None
    most_memory_bytes: int | None = None


def facts_of(answer: Any) -> ServerFacts:
    """The facts in an answer to INFO, of one node or of several; an error in its place tells none."""
    if not isinstance(answer, bytes):
        return ServerFacts()
    info: dict[str, Any] = {}
    for line in answer.decode(errors="replace").splitlines():
        name, _, value = line.partition(":")
        # Of the nodes of a cluster the first tells, and all have memory and clients.
        is_sum = name in ("used_memory", "connected_clients") and name in info
        info[name] = int(info[name]) + int(value) if is_sum else info.get(name, value)
    name, field = ("Valkey", "valkey_version") if "valkey_version" in info else ("Redis", "redis_version")
    return ServerFacts(
        version=printable(f"{name} {info[field]}", 40) if field in info else None,
        uptime_seconds=whole_number(info.get("uptime_in_seconds")),
        memory_bytes=whole_number(info.get("used_memory")),
        clients=whole_number(info.get("connected_clients")),
        append_only=_flag(info.get("aof_enabled")),
        eviction_policy=printable(str(info["maxmemory_policy"]), 40) if "maxmemory_policy" in info else None,
        most_memory_bytes=whole_number(info.get("maxmemory")),
    )


def _flag(value: object) -> bool | None:
    number = whole_number(value, most=1)
    return None if number is None else bool(number)
