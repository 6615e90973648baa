"""What is kept of the common symbols: until when an answer is fresh, and of how many hours it is true."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tbcache.models import FetchRequest, SymbolSentiment
from tbcache.store.codec import DecodeError, decode_sentiment
from tbcache.store.envelope import value_of
from tbcache.store.wire import to_time


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer to a fetch that is kept warm, and until when it is fresh (UTC); None where there is none."""

    request: FetchRequest
    sentiment: SymbolSentiment | None = None
    fresh_until: datetime | None = None

    def age(self, at: datetime) -> float | None:
        """How old the answer is at that moment, in seconds; None where there is none."""
        return max(0.0, (at - self.sentiment.as_of).total_seconds()) if self.sentiment else None


def kept(request: FetchRequest, entry: Any, fresh_until: int) -> Kept:
    """What ``entry`` holds; ``fresh_until`` (us) is 0 for one that is missing, damaged, or was cleared."""
    found = answer_in(entry) if fresh_until else None
    return Kept(request) if found is None else Kept(request, found, to_time(fresh_until))


def answer_in(entry: Any) -> SymbolSentiment | None:
    """The answer in an entry, as Redis gave it; None for none, or one that is damaged."""
    if isinstance(entry, bytes):
        with contextlib.suppress(DecodeError):
            found = decode_sentiment(value_of(entry))
            # One of no hours is damaged as well: it covers no part of them.
            return found if found.hours > 0 else None
    return None


def covering(found: Iterable[Kept]) -> list[SymbolSentiment]:
    """The answers among them that cover anything."""
    return [one.sentiment for one in found if one.sentiment is not None and one.sentiment.covered_hours]
