"""The default scorer: VADER with a trader's dictionary and rules."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
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
    longest first; a phrase counts as one word. ``firsts`` are their first words.
    """

    valences: dict[str, float]
    neutral: frozenset[str]
    emoji: dict[str, str]
    phrases: Phrases
    firsts: frozenset[str]

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
            firsts=frozenset(first for first, _ in phrases),
        )

    def find_phrases(self, words: list[str]) -> list[tuple[int, int]]:
        """Where phrases begin and end among ``words``, in lower case; of two that overlap, the first one."""
        found, done = list[tuple[int, int]](), 0
        if self.firsts.isdisjoint(words):
            return found
        # Most words begin none, and of those that do few are followed by the second word of one.
        for at in [at for at, word in enumerate(words) if word in self.firsts]:
            known = self.phrases.get((words[at], words[at + 1])) if at + 1 < len(words) else None
            if known and at >= done:
                end = next((at + len(p) for p in known if tuple(words[at : at + len(p)]) == p), 0)
                if end:
                    found.append((at, end))
                    done = end
        return found


class FinanceVader:
    """VADER with a trading lexicon and rules, on text freed of links, mentions, cashtags and HTML.

    The lexicons are read at the first score. Safe to share between threads.
    """

    name = "finance-vader"
    version = "3"

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
    # With their punctuation, which has no capitals.
    words = tokens = text.split()
    # Most tokens are bare already.
    lower = [token if token.isalpha() else _bare(token) for token in text.lower().split()]
    if found := lexicon.find_phrases(lower):
        tokens = [tokens[end - 1] for end in _ends(len(tokens), found)]
        words, lower = _join(words, found), _join(lower, found)
    return vader.total(understand(lower, tokens, vader.valences(words, lower)), lower, text)


def _bare(token: str) -> str:
    """The word without the punctuation around it; an emoticon as it is."""
    word = token.strip(punctuation)
    # VADER keeps all that is this short whole, so that its "up." is no word.
    return word if len(word) > 2 or (len(word) == 2 and word.isalpha()) else token


def _join(words: list[str], found: list[tuple[int, int]]) -> list[str]:
    """``words`` with each of the phrases that were found as one."""
    joined, done = list[str](), 0
    for start, end in found:
        joined += words[done:start]
        joined.append(" ".join(words[start:end]))
        done = end
    return joined + words[done:]


def _ends(length: int, found: list[tuple[int, int]]) -> list[int]:
    """The place behind each of as many words, those of a phrase that was found being one."""
    ends = list(range(1, length + 1))
    for start, end in reversed(found):
        del ends[start : end - 1]
    return ends
