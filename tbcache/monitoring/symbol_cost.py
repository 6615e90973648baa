"""What was paid for each symbol, at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from tbcache.monitoring.bounded_hash import Hints
from tbcache.store import Store

#: Whose the rest is, for which there is no room. No symbol is called so.
OTHERS = "(others)"


class SymbolCosts(Hints[tuple[str, str]]):
    """Adds up what this process pays by symbol, and reads what all have paid."""

    def __init__(self, store: Store, wake: Callable[[], object]) -> None:
        super().__init__(store, wake, store.keys.symbol_costs, lambda key: key)

    def _spare(self, field: str) -> str:
        return OTHERS

    def pay(self, source: str, symbols: Sequence[str], micros: int) -> None:
        """Count what a request cost at most (millionths of a dollar); several symbols pay a part each."""
        part = micros // len(symbols)
        for symbol in symbols if part else ():
            if not self.add((source, symbol), part):
                self.add((source, OTHERS), part, is_bounded=False)

    def read(self, source: str, days: Iterable[datetime]) -> Counter[str]:
        """What was paid for each symbol of ``source`` on these days, in millionths of a dollar."""
        return sum(self.read_each(source, *days), Counter[str]())
