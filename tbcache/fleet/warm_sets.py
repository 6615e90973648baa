"""What a fleet keeps warm: what its settings list, and what is really asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tbcache.fleet.expense import keeping_cost
from tbcache.fleet.warm_set import AskRate, WarmBound, WarmSet, ask_rates, warm_set
from tbcache.io import now
from tbcache.models import FetchRequest
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings, Source
from tbcache.settings.capacity import capacity_of
from tbcache.store import Store

#: So many of the answers that are asked for most are looked at.
MOST_ASKED = 1000
#: How often it is looked at what is asked for.
CHOICE_SECONDS = 30.0


def listed_of(source: Source, symbols: Sequence[str], hours: int) -> list[FetchRequest]:
    """The answers of ``source`` that the settings list."""
    return [FetchRequest(source.name, symbol, min(hours, source.max_hours)) for symbol in symbols]


class WarmSets:
    """The warm set of each source, by what was asked for in the last hour.

    While Redis is away it raises Unavailable.
    """

    def __init__(self, store: Store, settings: Settings, monitor: UsageMonitor) -> None:
        self._store = store
        self._share = settings.prewarm_share
        self._monitor = monitor
        #: The set of each source, and when it was chosen (monotonic).
        self._chosen: dict[str, tuple[WarmSet, float]] = {}

    def of(self, source: Source, listed: Sequence[FetchRequest]) -> WarmSet:
        """What is kept warm of ``source``, chosen anew now and then."""
        known = self._chosen.get(source.name)
        if known is None or now() >= known[1] + CHOICE_SECONDS:
            known = self._chosen[source.name] = self._choose(source, listed), now()
        return known[0]

    def has_money(self, source: Source) -> bool:
        """Whether keeping answers of ``source`` warm may cost more today; the rest is for who asks."""
        dollars = self.dollars(source)
        return dollars is None or self._monitor.get_source_metrics(source.name).cost_today < dollars

    def _choose(self, source: Source, listed: Sequence[FetchRequest]) -> WarmSet:
        rates = ask_rates(source, self._monitor.popularity.rates(source.name))[:MOST_ASKED]
        return warm_set(source, listed, rates, self._bound(source, listed, rates))

    def dollars(self, source: Source) -> float | None:
        """What keeping answers warm may cost a day (US dollars); None where nothing bounds it."""
        has_bound = source.price.per_page and source.daily_budget is not None
        return self._share * (source.daily_budget or 0.0) if has_bound else None

    def _bound(self, source: Source, listed: Sequence[FetchRequest], rates: Sequence[AskRate]) -> WarmBound:
        symbols, dollars = capacity_of(source, self._share), self.dollars(source)
        if dollars is None:
            return WarmBound(symbols)
        requests = list(dict.fromkeys([*listed, *(one.request for one in rates)]))
        costs = {
            request: keeping_cost(source, entry)
            for request, entry in zip(requests, self._entries(requests), strict=True)
        }
        return WarmBound(symbols, dollars, costs.__getitem__)

    def _entries(self, requests: Sequence[FetchRequest]) -> list[Any]:
        return self._store.execute(*(("GET", self._store.keys.entry(one.key)) for one in requests))
