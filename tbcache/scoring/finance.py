"""The default scorer: VADER with a trader's dictionary and rules."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Container
from importlib.resources import files
from pathlib import Path
from string import punctuation
from typing import TYPE_CHECKING, NamedTuple

from tbcache.models.untrusted import unescape, visible
from tbcache.scoring.classifier import OnnxScorer
from tbcache.scoring.confidence import Evidence, confidence
from tbcache.scoring.lexicon import Lexicon, read_report_words
from tbcache.scoring.register import is_report
from tbcache.scoring.scorer import Rating, Scorer
from tbcache.scoring.target import about

if TYPE_CHECKING:
    from tbcache.scoring.vader import Vader

_loading = threading.Lock()

#: Words in lower case, the same with their punctuation, their valences, and whether they are a report's: the
#: valences by the rules.
Understand = Callable[[list[str], list[str], list[float], bool], list[float]]

# A text that was cleaned, its words in lower case, their valences by VADER alone and by all rules, and
# whether it is a report: a plain tuple, as one is made for each text.
_Weighed = tuple[str, list[str], list[float], list[float], bool]

_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")  # not "<3"
_LINK = re.compile(r"(?:https?://|www\.)\S+")
# The look-behind comes second: an expression that begins with its signs is searched much faster.
_HANDLE = re.compile(r"[$@](?<!\w.)[A-Za-z][\w.]*")
_SIGNED_PERCENT = re.compile(r"(?<![\w.,%])([+\-−])(?=\d[\d.,]*\s?%)")
# Nobody writes a space behind these: "it fell again...shorts win".
_DOTS = re.compile(r"(?<=\.\.)(?=[^\s.])")
# As those write who split texts into words: "EUR2 .5 m".
_SPLIT_FIGURE = re.compile(r"(?<=\d) (?=\.\d)")
#: So many words has a cry at most.
_CRY = 8
_DRAWN_OUT = re.compile(r"([A-Za-z])\1\1+")
_DIRECTION = {"+": " up ", "-": " down ", "−": " down "}
# VADER knows the typewriter's signs only: "don’t" would not negate, and “beat” would be no word.
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "…": " ", "—": " - ", "–": " - "})


class FinanceVader:
    """VADER with a trading lexicon and rules, on text freed of links, mentions, cashtags and HTML.

    The lexicons are read at the first score. Safe to share between threads.
    """

    name = "finance-vader"
    version = "7"

    def score(self, texts: list[str]) -> list[float]:
        """One compound a text, -1..1."""
        tables = _load()
        total, scores = tables.talk.total, list[float]()
        for text in texts:
            cleaned, lower, _, valences, _ = _weigh(tables, text)
            scores.append(total(valences, lower, cleaned))
        return scores

    def read(self, texts: list[str]) -> list[Evidence]:
        """What each score is made of."""
        tables = _load()
        return [_evidence(tables.talk, _weigh(tables, text)) for text in texts]

    def rate(self, texts: list[str], symbol: str | None = None) -> list[Rating]:
        """One score a text, as by ``score`` or ``score_for``, with its confidence."""
        if symbol is not None:
            texts = [about(text, symbol) for text in texts]
        return [Rating(evidence.compound, confidence(evidence)) for evidence in self.read(texts)]

    def score_for(self, texts: list[str], symbol: str) -> list[float]:
        """One compound a text, of the clauses that speak of ``symbol`` where it names other tickers too."""
        return self.score([about(text, symbol) for text in texts])


def get_scorer(classifier: Path | None = None) -> Scorer:
    """The scorer of this process: the ``classifier`` in that folder or file, or else the lexicon and rules.

    Raises:
      MissingExtra, ConfigurationError: there is no such classifier, or nothing to run it with.
    """
    # Two threads that both made one would have a model each.
    with _loading:
        return _scorer(classifier)


@functools.cache
def _scorer(classifier: Path | None) -> Scorer:
    return FinanceVader() if classifier is None else OnnxScorer(classifier)


def clean(text: str, emoji: dict[str, str] | None = None) -> str:
    """``text`` without HTML, links, mentions and cashtags; ``""`` where nothing is left."""
    if "&" in text:
        text = unescape(text)
    if not text.isascii():
        text = visible(text).translate(_TYPOGRAPHY)
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
    if ".." in text:
        text = _DOTS.sub(" ", text)
    if " ." in text:
        text = _SPLIT_FIGURE.sub("", text)
    return text.strip()


class _Tables(NamedTuple):
    """What texts are read with: VADER for talk and for reports, the traders' lexicon, and the rules."""

    talk: Vader
    report: Vader
    lexicon: Lexicon
    understand: Understand
    #: All words that mean something, and those of phrases.
    spelled: frozenset[str]


def _load() -> _Tables:
    with _loading:
        return _tables()


@functools.cache
def _tables() -> _Tables:
    # They are built here: a process that never scores a text needs no such tables.
    from tbcache.scoring.rules import understand
    from tbcache.scoring.vader import Vader

    data = files("tbcache").joinpath("data")
    lexicon = Lexicon.read(data.joinpath("trading_lexicon.tsv").read_text("utf-8"))
    talk = Vader()
    talk.lexicon.update(lexicon.valences)
    # They are taken out: with a valence of 0 VADER would still weigh their capitals ("CREDIT Suisse").
    for word in lexicon.neutral:
        talk.lexicon.pop(word, None)
    kept, neutral = read_report_words(data.joinpath("report_words.tsv").read_text("utf-8"))
    known = (lexicon.valences.keys() | kept) - neutral
    report = talk.with_lexicon({word: talk.lexicon[word] for word in known if word in talk.lexicon})
    spelled = frozenset(word for each in (*talk.lexicon, *lexicon.neutral) for word in each.split())
    return _Tables(talk, report, lexicon, understand, spelled)


def _weigh(tables: _Tables, text: str) -> _Weighed:
    lexicon = tables.lexicon
    text = clean(text, lexicon.emoji)
    if not text.isascii():
        text = tables.talk.spell(text)
    # With their punctuation, which has no capitals.
    words = tokens = text.split()
    # Most tokens are bare already.
    lower = [token if token.isalpha() else _bare(token) for token in text.lower().split()]
    reports = is_report(text, lower)
    if reports and _asks(text):
        # Such a headline says nothing yet.
        plain = [0.0] * len(lower)
        return text, lower, plain, plain, True
    if found := lexicon.find_phrases(lower):
        tokens = _join(words, lower, found)
    plain = (tables.report if reports else tables.talk).valences(words, lower, text)
    # Looked for in short cries where nothing else is found, as it takes a while.
    if not reports and len(lower) <= _CRY and not any(plain) and _DRAWN_OUT.search(text):
        lower = [_shorten(word, tables.spelled) for word in lower]
        if found := lexicon.find_phrases(lower):
            tokens = _join(words, lower, found)
        plain = tables.talk.valences(words, lower, text)
    return text, lower, plain, tables.understand(lower, tokens, plain, reports), reports


def _asks(text: str) -> bool:
    """Whether a headline asks: one that asks why shares jumped says that they did."""
    return text.endswith("?") and not text.startswith(("Why ", "How "))


def _evidence(vader: Vader, weighed: _Weighed) -> Evidence:
    text, lower, plain, valences, reports = weighed
    compound = vader.total(list(valences), lower, text)
    return Evidence.of(compound, valences, rules=valences != plain, report=reports)


def _bare(token: str) -> str:
    """The word without the punctuation around it; an emoticon as it is."""
    word = token.strip(punctuation)
    # VADER keeps all that is this short whole, so that its "up." is no word.
    return word if len(word) > 2 or (len(word) == 2 and word.isalpha()) else token


def _shorten(word: str, known: Container[str]) -> str:
    """A word that somebody cries ("sellll", "mooooon") as it is known; any other one as it is."""
    if word in known or not _DRAWN_OUT.search(word):
        return word
    found = (_DRAWN_OUT.sub(letters, word) for letters in (r"\1\1", r"\1"))
    return next((short for short in found if short in known), word)


def _join(words: list[str], lower: list[str], found: list[tuple[int, int]]) -> list[str]:
    """Make each phrase that was ``found`` one word of ``words``, and of ``lower``; gives the words as they
    were, of each phrase the last one, which has its punctuation.
    """
    tokens = words.copy()
    for start, end in reversed(found):
        tokens[start:end] = words[end - 1 : end]
        words[start:end] = [" ".join(words[start:end])]
        lower[start:end] = [" ".join(lower[start:end])]
    return tokens
