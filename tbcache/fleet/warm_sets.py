"""What a fleet keeps warm: what its settings list, and what is really asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tbcache.fleet.expense import keeping_cost
from tbcache.fleet.warm_set import AskRate, Bound, WarmSet, ask_rates, warm_set
from tbcache.models import FetchRequest
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings, Source
from tbcache.settings.capacity import capacity_of
from tbcache.store import Store

#: So many of the answers that are asked for most are looked at.
MOST_ASKED = 1000


class WarmSets:
    """The warm set of each source, by what was asked for in the last hour."""

    def __init__(self, store: Store, settings: Settings, monitor: UsageMonitor) -> None:
        self._store = store
        self._settings = settings
        self._monitor = monitor

    def of(self, source: Source) -> WarmSet:
        """What is kept warm of ``source``.

        Raises:
          Unavailable: Redis is away.
        """
        listed = self.listed(source)
        asked = ask_rates(source, self._monitor.popularity.rates(source.name))[:MOST_ASKED]
        return warm_set(source, listed, asked, self._bound(source, listed, asked))

    def listed(self, source: Source) -> list[FetchRequest]:
        """What the settings list."""
        hours = min(self._settings.common_hours, source.max_hours)
        return [FetchRequest(source.name, symbol, hours) for symbol in self._settings.common_symbols]

    def has_money(self, source: Source) -> bool:
        """Whether keeping answers of ``source`` warm may cost more today; the rest is for who asks."""
        dollars = self._dollars(source)
        return dollars is None or self._monitor.get_source_metrics(source.name).cost_today < dollars

    def _dollars(self, source: Source) -> float | None:
        """What keeping answers warm may cost a day (US dollars); None where nothing bounds it."""
        has_bound = source.price.per_page and source.daily_budget is not None
        return self._settings.prewarm_share * (source.daily_budget or 0.0) if has_bound else None

    def _bound(self, source: Source, listed: Sequence[FetchRequest], asked: Sequence[AskRate]) -> Bound:
        symbols, dollars = capacity_of(source, self._settings.prewarm_share), self._dollars(source)
        if dollars is None:
            return Bound(symbols)
        requests = list(dict.fromkeys([*listed, *(one.request for one in asked)]))
        costs = {
            request: keeping_cost(source, entry)
            for request, entry in zip(requests, self._entries(requests), strict=True)
        }
        return Bound(symbols, dollars, costs.__getitem__)

    def _entries(self, requests: Sequence[FetchRequest]) -> list[Any]:
        with self._store.guard():
            pipe: Any = self._store.client.pipeline(transaction=False)
            for request in requests:
                pipe.get(self._store.keys.entry(request.key))
            found: list[Any] = pipe.execute(raise_on_error=False)
        return found
