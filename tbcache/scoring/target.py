"""Whom a text speaks of: where it names several tickers, each has its own clauses."""

from __future__ import annotations

import re
from itertools import pairwise

_CASHTAG = re.compile(r"[$](?<!\w.)([A-Za-z][A-Za-z.]{0,9})(?!\w)")
# A clause ends with its sentence, at a comma, and before a word that turns to something else.
_END = re.compile(
    r"[;!?\n|](?!\d)|[.,](?=\s)|\s(?=(?:and|but|while|whereas|though|although|vs|versus|into)\s)",
    re.IGNORECASE,
)
# Tickers alone are no clause: "$A, $B and $C are up" speaks of all three.
_JOINS = re.compile(r"[\s,&/+]|\b(?:and|or|both|but|while|whereas|though|although)\b", re.IGNORECASE)


def about(text: str, symbol: str) -> str:
    """What of ``text`` speaks of ``symbol``: all of it, unless it names others beside it by cashtag.

    A clause that names none belongs to those of the clause before it, at the beginning to all.
    """
    if text.count("$") < 2 or not _names_others_too(text, symbol.upper()):
        return text
    symbol, kept, pending = symbol.upper(), list[str](), list[str]()
    named, listed = frozenset[str](), set[str]()
    for clause in _clauses(text):
        found = tickers(clause)
        pending.append(clause)
        listed |= found
        if found and not _JOINS.sub("", _CASHTAG.sub("", clause)):
            continue
        named = frozenset(listed) or named
        if not named or symbol in named:
            kept += pending
        pending, listed = [], set()
    # Where it is named in a list at the end alone, the text is about all in the list.
    return "".join(kept) or text


def _names_others_too(text: str, symbol: str) -> bool:
    named = tickers(text)
    return len(named) > 1 and symbol in named


def tickers(text: str) -> frozenset[str]:
    """The tickers that ``text`` names by cashtag."""
    return frozenset(ticker.rstrip(".").upper() for ticker in _CASHTAG.findall(text))


def _clauses(text: str) -> list[str]:
    ends = [0, *(found.end() for found in _END.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(ends)]
