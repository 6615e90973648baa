"""Prices that something goes through: "broke $10 today" is a rise, and "broke $10 support" a fall."""

from __future__ import annotations

import re

from tbcache.scoring.rules.reading import NEGATED, Reading

_THROUGH = frozenset("break breaks broke breaking broken clear clears cleared crosses crossed".split())
_PRICE = re.compile(r"[$€£]?\d{1,7}(?:[.,]\d{1,9})?[k$+]*[.,!?]*")
#: Words of a price that something goes through downwards.
_BELOW = frozenset("below under support down downside lower lows".split())
#: What may stand behind a price; behind a bare number anything else is what it counts: "broke 3 ribs".
_BEHIND = _BELOW | frozenset(
    ("", *"today tomorrow tmrw now soon again next this by in on eod eow eoy before and then with it".split())
)
_UP = 1.4
TRIGGERS = _THROUGH


def read_prices(reading: Reading, valences: list[float]) -> list[float]:
    """Rate what goes through a price that is the last of its clause, or has its time behind it."""
    valences = list(valences)
    for i, word in enumerate(reading.words):
        if word in _THROUGH and reading.next_word(i) and _is_price(reading, i + 1):
            figure = -_UP if reading.find(reading.after(i, 3), _BELOW) is not None else _UP
            valences[i] = figure * (NEGATED if reading.is_negated(i) else 1.0)
    return valences


def _is_price(reading: Reading, i: int) -> bool:
    if _PRICE.fullmatch(reading.tokens[i]) is None:
        return False
    return "$" in reading.tokens[i] or reading.next_word(i) in _BEHIND
