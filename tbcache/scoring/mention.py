"""Where a text names companies: by cashtag, by what the table of names calls them, by their tickers."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from typing import NamedTuple

from tbcache.models.names import CLEAR, every_named, named

CASHTAG = re.compile(r"[$](?<!\w.)([A-Za-z](?:[A-Za-z.]{0,8}[A-Za-z])?)(?!\w)")
_WORD = re.compile(r"(?<![\w$@#&-])\w+")
#: "Upgraded at Citi", "a loan from Citi": such a company is not whom the clause speaks of.
_ASIDE = re.compile(r"\b(?:at|by|from)\s\Z", re.IGNORECASE)
_ASIDE_LENGTH = 6
_ANY_WORD = re.compile(r"[$]?\w+")


class Mention(NamedTuple):
    """The place of a text at which it names a company: one that has two kinds of shares has two symbols, and
    what is spelled like a company none.
    """

    start: int
    end: int
    symbols: frozenset[str]


class _Spelled(NamedTuple):
    """How a company is written. One that is no everyday word is known in small letters as well; a phrase of
    no ``symbols`` is spelled alike and means something else.
    """

    text: str
    is_exact: bool
    symbols: frozenset[str]

    def stands_at(self, text: str, start: int) -> bool:
        end = start + len(self.text)
        found, after = text[start:end], text[end : end + 1]
        is_it = found == self.text or (not self.is_exact and found.lower() == self.text.lower())
        return is_it and not (after.isalnum() or after == "_")


def may_name_several(text: str, symbol: str) -> bool:
    """False for most texts that do not name ``symbol``, or it alone, which is told in a third of the time."""
    telling, asked, text = _telling(), symbol.lower(), text.lower()
    if not any(name in text for name in _names_of(symbol)):
        return False
    words = set(_ANY_WORD.findall(text))
    return len([word for word in words if word in telling or word == asked or word[0] == "$"]) > 1


def mentions(text: str, symbol: str) -> list[Mention]:
    """The companies that ``text`` names, in their order; ``symbol`` need not be in the table of names."""
    found = [Mention(*each.span(), frozenset((each.group(1).upper(),))) for each in CASHTAG.finditer(text)]
    begun, done = _begun(), 0
    for word in _WORD.finditer(text):
        start, first = word.start(), word.group()
        if start < done:
            continue
        if first == symbol and len(symbol) >= CLEAR and not every_named().get(symbol):
            found.append(Mention(start, word.end(), frozenset((symbol,))))
        for name in begun.get(first.lower(), ()):
            if name.stands_at(text, start):
                done = start + len(name.text)
                if not _ASIDE.search(text, max(0, start - _ASIDE_LENGTH), start):
                    found.append(Mention(start, done, name.symbols))
                break
    return sorted(found)


@functools.cache
def _begun() -> dict[str, list[_Spelled]]:
    """What is written of companies, the longest first, by the first word of it."""
    exact, symbols = dict[str, bool](), defaultdict[str, set[str]](set)
    for symbol, known in every_named().items():
        for name in known.names:
            symbols[name.rstrip("*")].add(symbol)
            exact[name.rstrip("*")] = name.endswith("*")
        for other in known.others:
            exact[other] = bool(symbols[other])
        if not known.is_stressed and len(symbol) >= CLEAR:
            symbols[symbol].add(symbol)
            exact[symbol] = True
    begun = defaultdict[str, list[_Spelled]](list)
    for text in sorted(symbols, key=len, reverse=True):
        if first := _WORD.match(text):
            begun[first.group().lower()].append(_Spelled(text, exact[text], frozenset(symbols[text])))
    return dict(begun)


@functools.lru_cache(maxsize=4096)
def _names_of(symbol: str) -> tuple[str, ...]:
    """The symbol and its names in small letters."""
    return tuple(word.lower() for word in named(symbol).words)


@functools.cache
def _telling() -> frozenset[str]:
    """The longest word of each name: "on" alone stands for no company, "semiconductor" may."""
    names = (name.text.lower() for known in _begun().values() for name in known if name.symbols)
    return frozenset(max(_ANY_WORD.findall(name), key=len) for name in names)
