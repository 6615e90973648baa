"""Whether a server keeps what it is given: the one rule, for who starts something and for a check-up."""

from __future__ import annotations

from collections.abc import Iterator

from tbcache.fleet.finding import Finding
from tbcache.store.server import ServerFacts

KEEPS = "noeviction"


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
