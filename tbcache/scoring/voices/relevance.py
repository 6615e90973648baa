"""The rule that what speaks of something else, which is spelled alike, does not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tbcache.models import Item
from tbcache.models.names import Named, named
from tbcache.scoring.voices.memory import remembered
from tbcache.scoring.voices.rule import Shares, Voice


def about_symbol(custom: Mapping[str, str] | None = None) -> Shares:
    """Items that do not speak of the symbol asked for do not count; ``custom`` are further names."""

    def shares(voices: Sequence[Voice]) -> list[float]:
        known = {symbol: named(symbol, custom) for symbol in {voice.symbol for voice in voices} if symbol}
        return [float(voice.symbol is None or _is_about(voice.item, known[voice.symbol])) for voice in voices]

    return shares


def _is_about(item: Item, symbol: Named) -> bool:
    # An item that an upstream files under a symbol, or states in figures, is about it.
    if symbol.symbol in item.symbols or item.score is not None or not item.text.strip():
        return True
    return _is_meant(symbol, item.text)


@remembered
def _is_meant(symbol: Named, text: str) -> bool:
    return symbol.is_meant(text)
