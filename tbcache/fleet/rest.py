"""How many common symbols rest while the market is closed, by the word of the scheduler that leads.

It alone has the calendar, and knows what nobody asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tbcache.models.untrusted import NotJson, read_json
from tbcache.store import Store

#: It is told anew every 5 s; a scheduler that is busy may be late.
KEPT_SECONDS = 30


def tell_resting(store: Store, counts: Mapping[str, int]) -> None:
    """Tell of each source how many of its symbols rest."""
    store.call("SET", store.keys.schedule("resting"), msgspec.json.encode(counts), "EX", KEPT_SECONDS)


def read_resting(found: Any) -> dict[str, int]:
    """The counts in what Redis has; none where it has none, or they are damaged."""
    try:
        return read_json(found, dict[str, int]) if isinstance(found, bytes) else {}
    except NotJson:
        return {}
