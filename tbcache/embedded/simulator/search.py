"""The symbols in a query: ``$AAPL``, ``"$AAPL" OR AAPL``, ``($AAPL OR $MSFT) lang:en -is:retweet``."""

from __future__ import annotations

import re

_TERM = re.compile(r"(?<![\w$:])(-?)(?:(\w+):)?(\$?)([A-Za-z0-9][A-Za-z0-9.\-]*)")
_QUOTED = re.compile(r'"[^"]*"')
_PART = re.compile(r'"([^"]+)"|([^\s()"]+)')
_OR = re.compile(r"\bOR\b")
_WORD = re.compile(r"[^\W_]+")
_WORDS = frozenset({"OR", "AND", "NOT"})
#: Prefixes that say where to search. Any other ``name:value`` is an operator that names no symbol.
_PLACES = frozenset({"title", "selftext", "self_text", "qintitle"})


def symbols(query: str) -> tuple[str, ...]:
    """The symbols in ``query``: its cashtags, else its upper-case words, else its first word."""
    terms = [
        (bool(cash), word.rstrip(".-"))
        for minus, place, cash, word in _TERM.findall(query)
        if not minus and word not in _WORDS and (not place or place.lower() in _PLACES)
    ]
    cashtags = [word for cash, word in terms if cash]
    tickers = [word for _, word in terms if word == word.upper()]
    chosen = cashtags or tickers or [word for _, word in terms[:1]]
    return tuple(dict.fromkeys(word.upper() for word in chosen))


def finds(query: str, text: str) -> bool:
    """Whether a keyword search for ``query`` finds ``text``: it has all words of one of the parts of the
    query.

    ``OR`` separates the parts. Signs are ignored, so that ``$F`` is the letter F.
    """
    words = _spaced(text)
    parts = (_PART.findall(part) for part in _OR.split(query))
    return any(
        part and all(_spaced(phrase or word) in words for phrase, word in part if word not in _WORDS)
        for part in parts
    )


def _spaced(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.lower()))} "


def has_cashtag_operator(query: str) -> bool:
    """True for ``$AAPL`` without quotes. In quotes it is a phrase, which every plan may search for."""
    return "$" in _QUOTED.sub("", query)
