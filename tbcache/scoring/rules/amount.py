"""Amounts of headlines: "$1.2bn", "EUR 21 million", "(0.12)"."""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = re.compile(
    r"(\(?[-−]?)[$€£]?(\d[\d,]{0,20}(?:\.\d{1,9})?)([kmb]|mn|bn|tn)?(%?)[).,;:!?]*", re.IGNORECASE
)
_UNITS = {"k": 1e3, "thousand": 1e3, "m": 1e6, "mn": 1e6, "mln": 1e6, "million": 1e6}
_UNITS |= {"b": 1e9, "bn": 1e9, "bln": 1e9, "billion": 1e9, "tn": 1e12, "trillion": 1e12}
#: The signs that may stand before the number.
LEADS = frozenset("eur usd gbp cad aud chf sek nok dkk jpy us a an about around just only nearly".split())


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
    sign, digits, unit, percent = found.groups()
    # A comma behind it is of the sentence.
    digits = digits.rstrip(",")
    figure = float(digits.replace(",", "")) * (-1 if sign else 1) * _UNITS.get((unit or "").lower(), 1)
    spelled = _UNITS.get(words[i + 1]) if not unit and i + 1 < len(words) else None
    bare = "$" not in tokens[i] and not unit and not percent and spelled is None and "," not in digits
    end = i + (1 if spelled is None else 2)
    is_money = led or not (bare or (not unit and not percent and spelled is None and "$" not in tokens[i]))
    return Amount(figure * (spelled or 1), bare and 1900 <= figure <= 2100, end, is_money)
