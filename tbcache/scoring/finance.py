"""The default scorer: VADER with a trader's dictionary and rules."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from string import punctuation
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tbcache.models.foreign import unescape
from tbcache.scoring.target import about

if TYPE_CHECKING:
    from tbcache.scoring.vader import Vader

_loading = threading.Lock()

#: Words in lower case, the same with their punctuation, and their valences: the valences by the rules.
Understand = Callable[[list[str], list[str], list[float]], list[float]]
Phrases = dict[tuple[str, str], tuple[tuple[str, ...], ...]]

_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")  # not "<3"
_LINK = re.compile(r"(?:https?://|www\.)\S+")
# The look-behind comes second: an expression that begins with its signs is searched much faster.
_HANDLE = re.compile(r"[$@](?<!\w.)[A-Za-z][\w.]*")
_SIGNED_PERCENT = re.compile(r"(?<![\w.,])([+\-−])(?=\d[\d.,]*\s?%)")
_DIRECTION = {"+": " up ", "-": " down ", "−": " down "}
# VADER knows the typewriter's signs only: "don’t" would not negate, and “beat” would be no word.
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "…": " ", "—": " - ", "–": " - "})


class Scorer(Protocol):
    """Rates texts. ``name`` and ``version`` travel with each score."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def score(self, texts: list[str]) -> list[float]:
        """One figure a text, -1 (bearish) .. 1 (bullish), 0 where nothing is said."""
        ...


@runtime_checkable
class TargetScorer(Scorer, Protocol):
    """A scorer that tells the tickers of a text apart; of one that does not, ``score`` is called."""

    def score_for(self, texts: list[str], symbol: str) -> list[float]:
        """One figure a text, as by ``score``, of what it says of ``symbol``."""
        ...


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What traders mean by words: valences (-4..4), words that mean nothing here, emoji as words.

    ``phrases`` maps the first two words of each phrase to the phrases that begin so,
    longest first; a phrase counts as one word.
    """

    valences: dict[str, float]
    neutral: frozenset[str]
    emoji: dict[str, str]
    phrases: Phrases

    @classmethod
    def read(cls, text: str) -> Lexicon:
        """Read ``word<TAB>valence`` rows; a valence of ``=word`` stands for that word."""
        rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
        figures = {word: float(value) for word, value in rows if not value.startswith("=")}
        phrases: Phrases = {}
        for phrase in sorted((word for word in figures if " " in word), key=len, reverse=True):
            first, second, *rest = phrase.split(" ")
            phrases[first, second] = (*phrases.get((first, second), ()), (first, second, *rest))
        return cls(
            valences={word: value for word, value in figures.items() if value},
            neutral=frozenset(word for word, value in figures.items() if not value),
            emoji={emoji: f" {value[1:]} " for emoji, value in rows if value.startswith("=")},
            phrases=phrases,
        )


class FinanceVader:
    """VADER with a trading lexicon and rules, on text freed of links, mentions, cashtags and HTML.

    The lexicons are read at the first score. Safe to share between threads.
    """

    name = "finance-vader"
    version = "2"

    def score(self, texts: list[str]) -> list[float]:
        """One compound a text, -1..1."""
        with _loading:
            vader, lexicon, understand = _lexicons()
        return [_compound(vader, lexicon, understand, text) for text in texts]

    def score_for(self, texts: list[str], symbol: str) -> list[float]:
        """One compound a text, of the clauses that speak of ``symbol`` where it names other tickers too."""
        return self.score([about(text, symbol) for text in texts])


@functools.cache
def get_scorer() -> Scorer:
    """The scorer of this process."""
    return FinanceVader()


def clean(text: str, emoji: dict[str, str] | None = None) -> str:
    """``text`` without HTML, links, mentions and cashtags; ``""`` where nothing is left."""
    if "&" in text:
        text = unescape(text)
    if not text.isascii():
        text = text.translate(_TYPOGRAPHY)
        for sign in (emoji or {}).keys() & set(text):
            text = text.replace(sign, (emoji or {})[sign])
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "://" in text or "www." in text:
        text = _LINK.sub(" ", text)
    if "$" in text or "@" in text:
        text = _HANDLE.sub(" ", text)
    if "%" in text:
        text = _SIGNED_PERCENT.sub(lambda found: _DIRECTION[found.group(1)], text)
    return text.strip()


@functools.cache
def _lexicons() -> tuple[Vader, Lexicon, Understand]:
    # Here and not above: whoever never scores a text never builds these tables.
    from tbcache.scoring.rules import understand
    from tbcache.scoring.vader import Vader

    lexicon = Lexicon.read(files("tbcache").joinpath("data/trading_lexicon.tsv").read_text("utf-8"))
    vader = Vader()
    vader.lexicon.update(lexicon.valences)
    # Taken out, not set to 0: VADER would still weigh their capitals ("CREDIT Suisse").
    for word in lexicon.neutral:
        vader.lexicon.pop(word, None)
    return vader, lexicon, understand


def _compound(vader: Vader, lexicon: Lexicon, understand: Understand, text: str) -> float:
    text = vader.spell(clean(text, lexicon.emoji))
    tokens = text.split()
    # Most tokens are bare already.
    words = [token if token.isalpha() else _bare(token) for token in tokens]
    lower = [word.lower() for word in words]
    if not lexicon.phrases.keys().isdisjoint(pairwise(lower)):
        words, tokens = _join_phrases(words, tokens, lower, lexicon.phrases)
        lower = [word.lower() for word in words]
    return vader.total(understand(lower, tokens, vader.valences(words, lower)), lower, text)


def _bare(token: str) -> str:
    """The word without the punctuation around it; an emoticon as it is."""
    word = token.strip(punctuation)
    # VADER keeps all that is this short whole, so that its "up." is no word.
    return word if len(word) > 2 or (len(word) == 2 and word.isalpha()) else token


def _join_phrases(
    words: list[str], tokens: list[str], lower: list[str], phrases: Phrases
) -> tuple[list[str], list[str]]:
    """``words`` and ``tokens`` with each phrase as one."""
    joined, ends, at = [], [], 0
    while at < len(words):
        known = phrases.get((lower[at], lower[at + 1]), ()) if at + 1 < len(words) else ()
        length = next((len(p) for p in known if tuple(lower[at : at + len(p)]) == p), 1)
        joined.append(" ".join(words[at : at + length]))
        ends.append(tokens[at + length - 1])
        at += length
    return joined, ends
