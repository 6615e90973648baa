"""What a load would have cost whoever remembers nothing: each time an answer is out of date, all of its hours
are fetched again.

It is reckoned from what was seen, by the same price, so that the two bills can stand side by side: items that
the upstream bills once a day are billed once a day there as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from tbcache.models import FetchRequest, Item
from tbcache.settings import Source
from tbcache.store.wire import to_micros
from tbcache.timeline import Record


def naive_figures(
    source: Source, request: FetchRequest, known: Record | None, record: Record, start: datetime
) -> Mapping[str, int]:
    """The figures of a load after which ``record`` is known, and ``known`` before; none where it is free.

    ``start`` is the first moment of the hours. A load of older hours is none of the naive pattern's: what it
    brings would have been there already.
    """
    price = source.price
    if not price.per_page:
        return {}
    there = [version.item for version in record.timeline.since(start)]
    requests = 0 if request.is_deep else max(1, math.ceil(len(there) / price.page_items))
    items = _newly_billed(there, known, record) if price.daily_dedupe else len(there) * min(1, requests)
    dollars = items * price.per_item + requests * price.per_request
    return {"naive": to_micros(dollars), "naive_pages": requests}


def _newly_billed(there: Sequence[Item], known: Record | None, record: Record) -> float:
    """How many items are billed that were not billed before on the same day.

    One that names several symbols may be read for each of them, and is billed once: it counts in part.
    """
    is_same_day = known is not None and known.read_at.date() == record.read_at.date()
    before = (
        {version.item.identity for version in known.timeline.versions} if known and is_same_day else set()
    )
    return math.fsum(1 / max(1, len(item.symbols)) for item in there if item.identity not in before)
