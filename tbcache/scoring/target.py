"""Whom a text speaks of: where it names several companies, each has its own clauses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

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


# A ticker that nobody knows is one of a list as well.
_TICKER = re.compile(r"\s*(?:and\s)?[A-Z]{1,5},?\s*")


class _Clause(NamedTuple):
    """A clause, whom it ``names``, what it ``says`` beside names and joins, and what is ``behind`` them."""

    text: str
    names: set[str]
    says: str
    behind: str


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
    kept, named = list[str](), set[str]()
    for texts, names in _joined(_clauses(text, found)):
        named = names or named
        if not named or symbol in named:
            kept += texts
    # Where it is named in a list at the end alone, the text is about all in the list.
    return "".join(kept) or text


def tickers(text: str) -> frozenset[str]:
    """The tickers that ``text`` names by cashtag."""
    return frozenset(ticker.upper() for ticker in CASHTAG.findall(text))


def _joined(clauses: Iterable[_Clause]) -> list[tuple[list[str], set[str]]]:
    """The clauses, those of a list together with what is said of it, and whom they name."""
    joined, texts, names, goes_on = list[tuple[list[str], set[str]]](), list[str](), set[str](), False
    for clause in clauses:
        is_ticker = not clause.names and bool(_TICKER.fullmatch(clause.text))
        # "A great day for $A, $B and $C." begins with what is said of all.
        if goes_on and (is_ticker or (clause.names and not clause.says.strip(".;!?"))):
            joined[-1][0].append(clause.text)
            joined[-1][1].update(clause.names)
            goes_on = is_ticker or not clause.says
            continue
        texts.append(clause.text)
        names |= clause.names
        if not (clause.names and not clause.says) and not (len(texts) > 1 and is_ticker):
            joined.append((texts, names))
            goes_on = bool(names) and clause.behind.strip() == ","
            texts, names = [], set()
    return joined


def _clauses(text: str, found: Sequence[Mention]) -> Iterator[_Clause]:
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
        behind = text[place:end]
        yield _Clause(text[start:end], names, _JOINS.sub("", "".join((*others, behind))), behind)
