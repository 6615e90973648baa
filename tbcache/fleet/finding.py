"""What a check-up finds: something is as it should be, worth knowing, or wrong. One rule of it is for whoever
starts something as well: whether a server keeps what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tbcache.store.server import ServerFacts

Level = Literal["ok", "note", "wrong"]
KEEPS = "noeviction"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding ``about`` something, like ``redis`` or a source; ``fix`` is what mends it, where anything
    is to be mended.
    """

    level: Level
    about: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.fix}" if self.fix else self.what


def losses(facts: ServerFacts) -> Iterator[Finding]:
    """How the server of ``facts`` may lose what it holds; of what is not known nothing is said."""
    if facts.append_only is False:
        yield Finding(
            "wrong",
            "redis",
            "Redis keeps no append-only file: what is queued, cached and counted is lost with its process",
            "`redis-cli CONFIG SET appendonly yes`, and `appendonly yes` in its configuration",
        )
    policy = facts.eviction_policy
    if policy is not None and policy != KEEPS:
        bound = "" if facts.most_memory_bytes else ", as soon as it has a maxmemory"
        yield Finding(
            "wrong" if facts.most_memory_bytes else "note",
            "redis",
            f"Redis throws keys away when its memory is full (maxmemory-policy {policy}){bound}: queued jobs "
            "and used slots are among them",
            f"`redis-cli CONFIG SET maxmemory-policy {KEEPS}`, and the same in its configuration",
        )
