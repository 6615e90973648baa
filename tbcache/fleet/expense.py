"""What a source comes to in a day that no budget bounds, by the answers that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tbcache.fleet.answer import answer_in
from tbcache.models import SymbolSentiment
from tbcache.models.shape import Shape
from tbcache.settings import Source
from tbcache.settings.capacity import requests_of

DAY_HOURS, DAY_SECONDS = 24, 86_400


def is_unbounded(source: Source) -> bool:
    """True where it costs money, and no budget says how much."""
    return source.price.per_page > 0 and source.daily_budget is None


@dataclass(frozen=True, slots=True)
class Covered(Shape):
    """Of how many of its hours a symbol's items are known."""

    symbol: str
    covered_hours: float
    hours: int


def busiest(answers: Sequence[SymbolSentiment]) -> Covered | None:
    """The symbol of which most items come in an hour; None where there is none."""
    if not answers:
        return None
    # Of two that are as busy the same one each time.
    most = max(answers, key=lambda one: (one.count / one.covered_hours, one.symbol))
    return Covered(most.symbol, round(most.covered_hours, 1), most.hours)


def day_cost(source: Source, answers: Sequence[SymbolSentiment]) -> float | None:
    """What a day of the symbols of ``answers`` costs (US dollars); None where nobody knows.

    Their new items at the present rate, and the requests that refresh them. An item that names several of
    them is billed once and counted for each: it is no less than the bill.
    """
    if not is_unbounded(source) or not answers:
        return None
    items = sum(map(_items, answers))
    requests = requests_of(source, len(answers)) * DAY_SECONDS / source.cache_ttl
    return items * source.price.per_item + requests * source.price.per_request


def keeping_cost(source: Source, entry: Any) -> float:
    """What a day of one symbol costs that is kept warm (US dollars), by what Redis has of it; of one of which
    nothing is known, its requests alone.
    """
    requests = DAY_SECONDS / source.cache_ttl / (source.pack if source.is_packed else 1)
    answer = answer_in(entry)
    items = _items(answer) if answer is not None and answer.covered_hours else 0.0
    return items * source.price.per_item + requests * source.price.per_request


def _items(answer: SymbolSentiment) -> float:
    """How many items come in a day, at the rate of the hours that are covered."""
    return DAY_HOURS * answer.count / answer.covered_hours
