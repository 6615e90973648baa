"""Amounts of headlines: "$1.2bn", "EUR 21 million", "(0.12)"."""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = re.compile(
    r"(\(?[-−]?)(eur|usd|gbp|(?:us|c|a|hk)?[$€£])?(\d[\d,]{0,20}(?:\.\d{1,9})?)([kmb]|mn|bn|tn)?(%?)[).,;:!?]*",
    re.IGNORECASE,
)
_UNITS = {"k": 1e3, "thousand": 1e3, "m": 1e6, "mn": 1e6, "mln": 1e6, "million": 1e6}
_UNITS |= {"b": 1e9, "bn": 1e9, "bln": 1e9, "billion": 1e9, "tn": 1e12, "trillion": 1e12}
#: The signs that may stand before the number.
LEADS = frozenset("eur usd gbp cad aud chf sek nok dkk jpy us a an about around just only nearly".split())
#: What may stand behind it.
CURRENCIES = frozenset("eur euro euros usd dollars cents crowns pounds pct percent share".split())


class Amount(NamedTuple):
    """A number, whether it is one that may be a year, the place behind its last word, and whether it is one
    of money or a share by its signs.
    """

    figure: float
    may_be_year: bool
    end: int
    is_money: bool


def read_amount(tokens: list[str], words: list[str], i: int) -> Amount | None:
    """The amount that begins at ``i``; None where there is none."""
    led = i < len(words) and words[i] in LEADS
    i += led
    if i >= len(words) or (found := _NUMBER.fullmatch(tokens[i])) is None:
        return None
    sign, currency, digits, unit, percent = found.groups()
    # A comma behind it is of the sentence.
    digits = digits.rstrip(",")
    figure = float(digits.replace(",", "")) * (-1 if sign else 1) * _UNITS.get((unit or "").lower(), 1)
    spelled = _UNITS.get(words[i + 1]) if not unit and i + 1 < len(words) else None
    end = i + (1 if spelled is None else 2)
    is_named = bool(currency or unit or percent or spelled)
    is_money = is_named or led or (end < len(words) and words[end] in CURRENCIES)
    bare = not is_named and "," not in digits
    return Amount(figure * (spelled or 1), bare and 1900 <= figure <= 2100, end, is_money)
