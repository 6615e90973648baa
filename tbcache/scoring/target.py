"""Whom a text speaks of: where it names several companies, each has its own clauses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tbcache.scoring.mention import CASHTAG, Mention, may_name_several, mentions

# A clause ends with its sentence, at a comma, and before a word that turns to something else.
_END = re.compile(
    r"[;!?\n|](?!\d)|[.,](?=\s)"
    r"|\s(?=(?:and|but|while|whereas|though|although|vs|versus|into|to(?=\s(?:buy|add|load)))\s)",
    re.IGNORECASE,
)
# Before a company these end one as well: "Nvidia jumps as Intel plunges", but "Nvidia as well as Intel".
_LINK = re.compile(r"(?<!\bwell)(?<!\bsuch)(?<!\bmuch)\s(?:as|after)\s", re.IGNORECASE)
# Companies alone are no clause: "$A, $B and $C are up" speaks of all three.
_JOINS = re.compile(r"[\s,&/+]|\b(?:and|or|both|but|while|whereas|though|although)\b", re.IGNORECASE)


def about(text: str, symbol: str) -> str:
    """What of ``text`` speaks of ``symbol``: all of it, unless it names other companies too.

    A clause that names none belongs to those of the clause before it, at the beginning to all.
    """
    symbol = symbol.upper()
    if not may_name_several(text, symbol):
        return text
    found = mentions(text, symbol)
    if {symbol in each.symbols for each in found} != {True, False}:
        return text
    kept, pending = list[str](), list[str]()
    named, listed = frozenset[str](), set[str]()
    for clause, others, names in _clauses(text, found):
        pending.append(clause)
        listed |= names
        if names and not _JOINS.sub("", others):
            continue
        named = frozenset(listed) or named
        if not named or symbol in named:
            kept += pending
        pending, listed = [], set()
    # Where it is named in a list at the end alone, the text is about all in the list.
    return "".join(kept) or text


def tickers(text: str) -> frozenset[str]:
    """The tickers that ``text`` names by cashtag."""
    return frozenset(ticker.rstrip(".").upper() for ticker in CASHTAG.findall(text))


def _clauses(text: str, found: Sequence[Mention]) -> Iterator[tuple[str, str, set[str]]]:
    """Each clause of ``text``, what of it is no mention, and whom it names."""
    starts = {each.start for each in found}
    ends = {each.end() for each in _END.finditer(text)}
    ends |= {each.end() for each in _LINK.finditer(text) if each.end() in starts}
    left = iter(found)
    mention = next(left, None)
    for start, end in pairwise(sorted({0, *ends, len(text)})):
        others, place, names = list[str](), start, set[str]()
        while mention is not None and mention.start < end:
            others.append(text[place : mention.start])
            place = mention.end
            names |= mention.symbols
            mention = next(left, None)
        yield text[start:end], "".join((*others, text[place:end])), names
