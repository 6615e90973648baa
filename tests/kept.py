"""Answers in the cache, for tests of what shows them or asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta

from tbcache.io import utc_now
from tbcache.models import FetchRequest, SymbolSentiment
from tbcache.store import Store
from tbcache.store.codec import encode_sentiment
from tbcache.store.envelope import open_envelope, seal


def keep(
    store: Store, symbol: str, covered: float, *, fresh: float = 300, age: float = 0, is_empty: bool = False
) -> None:
    """Reddit's answer of 24 hours, of which so many are known; ``fresh`` and ``age`` are in seconds.
    ``is_empty``: nobody has written anything."""
    now = utc_now() - timedelta(seconds=age)
    since = now - timedelta(hours=covered)
    figures = (None, 0, 0, 0, 0) if is_empty else (0.25, 8, 5, 1, 2)
    is_complete = covered == 24
    answer = SymbolSentiment("reddit", symbol, 24, *figures, now, is_complete, since, "any/1", None)
    until = int((time.time() + fresh) * 1e6)
    key = store.keys.entry(FetchRequest("reddit", symbol).key)
    store.client.set(key, seal(encode_sentiment(answer), until), ex=600)


def grow_old(store: Store, keys: Iterable[str], seconds: float) -> None:
    """Have the TTL of what stands under these keys be over for so long."""
    until = int((time.time() - seconds) * 1e6)
    for entry in map(store.keys.entry, keys):
        _, birth, payload = open_envelope(store.client.get(entry))
        store.client.set(entry, seal(payload, until, birth), ex=600)
