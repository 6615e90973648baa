"""What an answer says beside its score: how it came about, over time and by which items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tbcache.models import Bucket, Item, Premium, TopItem
from tbcache.scoring.confidence import THRESHOLD
from tbcache.scoring.precision import estimate

#: So many parts have the hours of an answer, and so many items are named that move its score most.
BUCKETS = 24
TOP = 5


class Rated(NamedTuple):
    """An item that counts: its score, how much of it counts as a voice, and its weight in the mean."""

    item: Item
    score: float
    share: float
    weight: float


def mean(rated: Sequence[Rated]) -> float | None:
    """The mean score by the weights; None where none weighs anything."""
    found = estimate([(each.score, each.weight) for each in rated])
    return None if found is None else round(found.mean, 6)


def opinion(rated: Sequence[Rated]) -> float | None:
    """The mean score of those that are not neutral."""
    return mean([each for each in rated if abs(each.score) >= THRESHOLD])


def labelled(rated: Sequence[Rated]) -> float | None:
    """The share of the voices that are labelled by their authors; None where there are no voices."""
    voices = math.fsum(each.share for each in rated)
    said = math.fsum(each.share for each in rated if each.item.label and each.item.score is None)
    return round(said / voices, 4) if voices else None


def authors(rated: Sequence[Rated]) -> int | None:
    """How many different authors count; None where no item names its own."""
    return len({each.item.author for each in rated if each.item.author}) or None


def top(rated: Sequence[Rated]) -> tuple[TopItem, ...]:
    """The items that move the score most, by weight and score: the first of them the most."""
    heaviest = max((each.weight for each in rated), default=0.0)
    if not heaviest:
        return ()
    total = math.fsum(each.weight / heaviest for each in rated)
    ordered = sorted(rated, key=lambda each: (-abs(each.score) * (each.weight / heaviest), each.item.id))
    return tuple(_top(each, each.weight / heaviest / total) for each in ordered[:TOP] if each.weight)


def _top(each: Rated, share: float) -> TopItem:
    item = each.item
    return TopItem(item.id, item.at, round(each.score, 4), round(share, 4), item.url)


def buckets(items: Sequence[Item], rated: Sequence[Rated], as_of: datetime, hours: int) -> tuple[Bucket, ...]:
    """The items, and the mean of those that count, in each of the equal parts of the hours before ``as_of``;
    none where no item is of them. An item without a time is of when it was seen.
    """
    start, part = as_of - timedelta(hours=hours), timedelta(hours=hours) / BUCKETS
    counts, parts = [0] * BUCKETS, [list[Rated]() for _ in range(BUCKETS)]
    for item in items:
        counts[_place(item, start, part)] += 1
    for each in rated:
        parts[_place(each.item, start, part)].append(each)
    if not items:
        return ()
    return tuple(Bucket(n, _rounded(mean(of))) for n, of in zip(counts, parts, strict=True))


def _place(item: Item, start: datetime, part: timedelta) -> int:
    at = item.at or item.seen_at or start
    return max(0, min(BUCKETS - 1, (at - start) // part))


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 4)


def premium(items: Sequence[Item]) -> Premium | None:
    """What was paid for the options that were traded, in US dollars; None where none was."""
    trades = [item for item in items if item.kind == "trade" and math.isfinite(item.weight)]
    if not trades:
        return None
    legs = math.fsum(item.weight for item in trades if item.is_multi_leg)
    alone = [item for item in trades if not item.is_multi_leg]
    call, put = (math.fsum(item.weight for item in alone if item.right == right) for right in ("call", "put"))
    return Premium(round(call, 2), round(put, 2), round(legs, 2))
