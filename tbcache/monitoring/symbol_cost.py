"""What was paid for each symbol, at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from tbcache.models.untrusted import printable, whole_number
from tbcache.monitoring.bounded_hash import Tally, add_counts, read_counts
from tbcache.store import Store

KEPT_SECONDS = 31 * 86400
#: The most symbols of a process within a second, and of a source in a day; the rest is one's.
MOST_SYMBOLS = 1_000
#: Whose the rest is. No symbol is called so.
OTHERS = "(others)"


class SymbolCosts:
    """Adds up what this process pays by symbol, and reads what all have paid.

    While Redis is away it raises Unavailable.
    """

    def __init__(self, store: Store, wake: Callable[[], object]) -> None:
        self._store = store
        self._tally = Tally[tuple[str, str]](MOST_SYMBOLS, wake)

    def pay(self, source: str, symbols: Sequence[str], micros: int) -> None:
        """Count what a request cost at most (millionths of a dollar); several symbols pay a part each."""
        part = micros // len(symbols)
        for symbol in symbols if part else ():
            if not self._tally.add((source, symbol), part):
                self._tally.add((source, OTHERS), part, is_bounded=False)

    def flush(self) -> None:
        """Add it to what stands in Redis."""
        by_source: dict[str, dict[str, int]] = {}
        for (source, symbol), micros in self._tally.take():
            by_source.setdefault(source, {})[symbol] = micros
        for source, symbols in by_source.items():
            key = self._store.keys.symbol_costs(source, self._store.clock.today)
            add_counts(
                self._store,
                key,
                symbols,
                most=MOST_SYMBOLS,
                kept_seconds=KEPT_SECONDS,
                stand_in=lambda _: OTHERS,
            )

    def read(self, source: str, days: Iterable[datetime]) -> Counter[str]:
        """What was paid for each symbol of ``source`` on these days, in millionths of a dollar."""
        found = read_counts(self._store, *(self._store.keys.symbol_costs(source, day) for day in days))
        total = Counter[str]()
        for day in found:
            for symbol, micros in day.items():
                total[printable(symbol, 40)] += whole_number(micros) or 0
        return total
