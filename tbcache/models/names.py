"""What a symbol is called in words, and whether a text speaks of it or of something that is spelled alike."""

from __future__ import annotations

import functools
import itertools
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files

#: Words that speak of markets: beside one of these a ticker that is a word as well is meant as one.
_MARKET = re.compile(
    r"""\b(?:stocks?|shares?|calls?|puts?|options?|etfs?|tickers?|earnings|eps|revenues?|guidance|bull\w*|bear\w*|
    long|short\w*|buy\w*|sell\w*|sold|bought|price|target|strike|squeeze|rally|rallies|gain\w*|dip|support|
    resistance|chart|breakout|volume|premarket|dividends?|upgrade\w*|downgrade\w*|analysts?|invest\w*|holding|
    position|portfolio|market|trad(?:e|es|ing|ers?)|exchange|index|margins?|shareholders?|10-[kq]|
    8-k|close[sd]?|opened|calls|expir\w*|valuation|quarter\w*|nasdaq|nyse|0dte)\b|\d%|\$\d""",
    re.IGNORECASE | re.VERBOSE,
)
#: Words that speak of companies: beside one of these a name that is a word as well is meant as one.
_COMPANY = re.compile(
    r"""\b(?:ceo|cfo|compan(?:y|ies)|firm|inc|corp|executives?|unveil\w*|launch\w*|deliver(?:y|ies|ed|s)|customers?|
    users?|apps?|devices?|phones?|products?|factor(?:y|ies)|suppl(?:y|ies|iers?)|cloud|chips?|ai|software|sales|
    profits?|workers|union|layoffs|jobs|offices?|head\s+of|names\s+new|annual\s+meeting|outage|
    lawsuits?|antitrust|regulators?|fined?|data|warehouses?|streaming|services?|
    contracts?|deal|trucks?|recall(?:s|ed)?|cars?|evs?|plants?|fees|payments?|cards?|rivals?|business|maker|billion|
    million|tax|tariffs?|forecast\w*|results|outlook)\b""",
    re.IGNORECASE | re.VERBOSE,
)
#: The longest text that a keyword search takes, in characters.
MOST_QUERY = 500
#: A ticker of so many letters is rarely a word by chance, in small letters neither: "amd".
CLEAR = 3
#: What stands behind a symbol that is a word as well: of a ``*`` people write that in capitals, too; and a
#: ``!`` says that it is none.
MARKS = "~*!"
_LETTER = re.compile(r"[a-z]")
_ARTICLE = re.compile(r"\b(?:the|a|an|this|that)\s\Z", re.IGNORECASE)
_GOES_ON = re.compile(
    r"\s*(?:[.,;:!?)]|\Z|\s(?:after|before|since|in|on|of|for|with|is|was|has|had|and|or|but|again|now)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Named:
    """A symbol, its ``names``, and the ``others``: phrases that are spelled alike and mean something else.

    A name with a ``*`` behind it is an everyday word as well. ``is_word``: so are the symbol's own letters,
    and ``is_stressed``: people write that word in capitals.
    """

    symbol: str
    names: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    is_word: bool = False
    is_stressed: bool = False

    def is_meant(self, text: str) -> bool:
        """Whether ``text`` speaks of the symbol.

        By its cashtag, a name or its ticker in capitals it does. A ticker that is a word is one in a text
        that is not all in capitals, and one that people stress only beside words of markets, as is a name in
        small letters. A text that has none of these is not about such a symbol; about another it may be, as
        many an upstream cuts its texts.
        """
        if _cashtag(self.symbol).search(text):
            return True
        whole = text
        for other in self.others:
            text = _other(other).sub(" ", text)
        if any(self._is_named(text, name) for name in self.names):
            return True
        found = list(_ticker(self.symbol).finditer(text))
        if self.is_word and found:
            is_shouted = _LETTER.search(text) is None
            is_plain = self.is_stressed or all(self._is_noun(text, each) for each in found)
            return not is_shouted and (not is_plain or _speaks_of_markets(text, found))
        names = [name.rstrip("*") for name in self.names]
        small = [each for name in names for each in _name(name, re.IGNORECASE).finditer(text)]
        if not self.is_word:
            tickers = list(_ticker(self.symbol, re.IGNORECASE).finditer(text))
            if found or (tickers and len(self.symbol) >= CLEAR):
                return True
            small += tickers
        if small or self.is_word:
            return bool(small) and _speaks_of_markets(text, small)
        # In a phrase that means something else it speaks of that.
        return text == whole

    def _is_noun(self, text: str, found: re.Match[str]) -> bool:
        """Whether the ticker that was ``found`` is the everyday word that its company is called by: no ticker
        has an article, unless something of the company follows ("the META webcast").
        """
        is_one = any(name.endswith("*") and name[:-1].upper() == self.symbol for name in self.names)
        return is_one and bool(_ARTICLE.search(text, 0, found.start()) and _GOES_ON.match(text, found.end()))

    def _is_named(self, text: str, name: str) -> bool:
        found = list(_name(name.rstrip("*")).finditer(text))
        return bool(found) and (not name.endswith("*") or _speaks_of_markets(text, found, _COMPANY))

    @property
    def words(self) -> tuple[str, ...]:
        """Its own letters and its names: what may stand for it in a text."""
        return self.symbol, *(name.rstrip("*") for name in self.names)

    def stands_in(self, text: str) -> bool:
        """Whether its letters or one of its names stand in ``text``, whatever they mean there."""
        return any(_phrase(word).search(text) for word in self.words)

    @property
    def query(self) -> str:
        """Words that find it: its names and, if they are no everyday word, its own letters."""
        symbol, *names = self.words
        quoted = quote_words([f"${symbol}" if self.is_word else symbol, *names])
        while len(" OR ".join(quoted)) > MOST_QUERY:
            quoted.pop()
        return " OR ".join(quoted)


def quote_words(words: Iterable[str]) -> list[str]:
    """``words``, each once, in the quotes that a keyword search needs of more than one."""
    return [word if word.isalnum() else f'"{word}"' for word in dict.fromkeys(words)]


def named(symbol: str, custom: Mapping[str, str] | None = None) -> Named:
    """What is known of ``symbol``; names in ``custom``, split by ``|``, go before those that are shipped, as
    does one of the :data:`MARKS` behind its symbol."""
    known = every_named().get(symbol, Named(symbol))
    for mark in ("", *MARKS):
        if (names := (custom or {}).get(symbol + mark)) is not None:
            known = replace(known, names=_split(names))
            return replace(known, is_word=mark != "!", is_stressed=mark == "*") if mark else known
    return known


def has_cashtag(text: str, symbol: str) -> bool:
    return _cashtag(symbol).search(text) is not None


def read_names(text: str) -> dict[str, Named]:
    """Read ``SYMBOL<TAB>name|name<TAB>other|other`` rows; a ``~`` behind the symbol says that it is a word, a
    ``*`` that people write it in capitals as well.
    """
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            symbol, names, *others = line.split("\t")
            bare = symbol.rstrip(MARKS)
            found[bare] = Named(
                bare, _split(names), _split("".join(others)), symbol != bare, symbol.endswith("*")
            )
    return found


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|") if part.strip())


@functools.cache
def every_named() -> Mapping[str, Named]:
    """What the table that is shipped says, by symbol."""
    return read_names(files("tbcache").joinpath("data/names.tsv").read_text("utf-8"))


def _speaks_of_markets(text: str, found: list[re.Match[str]], also: re.Pattern[str] | None = None) -> bool:
    """Whether something beside what was found is a word of markets, or of what is looked for ``also``.

    What was found of one name is in order and apart; of several names it may overlap.
    """
    marks = sorted((mark.start(), mark.end()) for mark in found)
    starts, ends = [start for start, _ in marks], list(itertools.accumulate((end for _, end in marks), max))

    def is_beside(each: re.Match[str]) -> bool:
        before = bisect_left(starts, each.end())
        return not before or ends[before - 1] <= each.start()

    words = (each for pattern in (_MARKET, also) if pattern is not None for each in pattern.finditer(text))
    return any(map(is_beside, words))


@functools.lru_cache(maxsize=4096)
def _cashtag(symbol: str) -> re.Pattern[str]:
    return re.compile(rf"\$(?<!\w.){re.escape(symbol)}(?![\w])", re.IGNORECASE)


@functools.lru_cache(maxsize=4096)
def _ticker(symbol: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w$@/.'&-]){re.escape(symbol)}(?![\w@/'&-])", flags)


@functools.lru_cache(maxsize=4096)
def _name(name: str, flags: int = 0) -> re.Pattern[str]:
    # A name is written with capitals: "a target", "an apple" are none.
    return re.compile(rf"(?<!\w){re.escape(name)}(?:'s|’s)?(?!\w)", flags)


@functools.lru_cache(maxsize=4096)
def _other(words: str) -> re.Pattern[str]:
    number = r"\d[\d.,]*"
    return re.compile(rf"(?<!\w){re.escape(words).replace(re.escape('#'), number)}(?!\w)", re.IGNORECASE)


@functools.lru_cache(maxsize=4096)
def _phrase(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.IGNORECASE)
