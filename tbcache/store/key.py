"""The name of every key, in one place.

A key belongs to one cluster slot by its hash tag, the source: everything a script
touches for a source lies together. All stand under the namespace (``trading_bot:``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

_GLOB = re.compile(r"[*?\[\\]")


def tagged(key: str) -> str:
    """``twitter:AAPL:24`` -> ``{twitter}:AAPL:24``: the part before the first colon is the tag."""
    head, colon, rest = key.partition(":")
    return f"{{{head}}}{colon}{rest}"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace."""

    namespace: str

    def slots(self, source: str) -> str:
        return f"{self.namespace}:{{{source}}}:slots"

    def state(self, source: str) -> str:
        return f"{self.namespace}:{{{source}}}:state"

    def fleet(self, source: str) -> str:
        return f"{self.namespace}:{{{source}}}:fleet"

    def back(self, source: str) -> str:
        return f"{self.namespace}:{{{source}}}:back"

    def usage(self, source: str, day: datetime) -> str:
        return f"{self.namespace}:{{{source}}}:usage:{day:%Y%m%d}"

    def billed(self, source: str, day: datetime) -> str:
        return f"{self.namespace}:{{{source}}}:billed:{day:%Y%m%d}"

    def outbox(self, source: str) -> str:
        return f"{self.namespace}:{{{source}}}:outbox"

    def queue(self, source: str, part: str) -> str:
        """One part of a source's queue; queue.lua has the list of parts."""
        return f"{self.namespace}:{{{source}}}:queue:{part}"

    def result(self, source: str, message_id: str) -> str:
        return f"{self.namespace}:{{{source}}}:result:{message_id}"

    def wake(self, source: str, token: str) -> str:
        return f"{self.namespace}:{{{source}}}:wake:{token}"

    def entry(self, key: str) -> str:
        return f"{self.namespace}:cache:{tagged(key)}"

    def lease(self, key: str) -> str:
        return f"{self.namespace}:lease:{tagged(key)}"

    @property
    def workers(self) -> str:
        """HASH worker -> JSON of its last heartbeat."""
        return f"{self.namespace}:workers"

    def schedule(self, part: str) -> str:
        return f"{self.namespace}:schedule:{part}"

    def key_of(self, entry: str) -> str:
        """The cache key of an entry's or a lease's full name."""
        tail = entry[len(self.namespace) + 1 :].partition(":")[2]
        head, colon, rest = tail.partition(":")
        return head[1:-1] + colon + rest

    def matching(self, kind: str, pattern: str) -> str:
        """A Redis glob for every ``kind`` ("cache" | "lease") key whose cache key matches ``pattern``.

        It may match more, where a wildcard stands before the first colon: compare
        :meth:`key_of` as well.
        """
        head, colon, _ = pattern.partition(":")
        meta = _GLOB.search(head)
        if meta or not colon:
            prefix = head[: meta.start()] if meta else head
            return f"{self.namespace}:{kind}:{{{prefix}*"
        return f"{self.namespace}:{kind}:{tagged(pattern)}"
