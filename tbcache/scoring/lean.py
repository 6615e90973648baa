"""vaderSentiment's compound score, to the same digit, in a fraction of its time.

Its published rules (Hutto & Gilbert, 2014) are kept, its lexicon and constants are
read from the installed package. What is left out is what a compound does not need:
the positive, negative and neutral shares, and looking at words that carry nothing.
"""

from __future__ import annotations

import re
from heapq import heappop, heappush
from importlib.resources import files
from string import punctuation

from vaderSentiment import vaderSentiment as vader  # noqa: N813

_NEGATIONS = frozenset(vader.NEGATE)
_EMPHASIS = frozenset(("so", "this"))
# A class of the emoji themselves would be exact, but most of them are tried one by one.
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_PHRASES = re.compile("|".join(re.escape(p) for p in (*vader.SPECIAL_CASES, *vader.BOOSTER_DICT) if " " in p))


class LeanVader(vader.SentimentIntensityAnalyzer):  # type: ignore[misc]
    """VADER that computes the compound only. Thread-safe once it is built."""

    def __init__(self) -> None:
        # Not the parent's: it opens its files with codecs.open, deprecated since Python 3.14.
        folder = files("vaderSentiment")
        self.lexicon_full_filepath = folder.joinpath("vader_lexicon.txt").read_text("utf-8")
        self.emoji_full_filepath = folder.joinpath("emoji_utf8_lexicon.txt").read_text("utf-8")
        self.lexicon: dict[str, float] = self.make_lex_dict()
        self.emojis: dict[str, str] = self.make_emoji_dict()
        # VADER looks at one character at a time, so longer emoji never match.
        self._spelled = {emoji: words for emoji, words in self.emojis.items() if len(emoji) == 1}
        self._single = frozenset(self._spelled)

    def compound(self, text: str) -> float:
        """The compound of ``text``, -1..1, rounded to four digits."""
        text = self.spell(text)
        # What is short without its punctuation was an emoticon, and is kept whole.
        words = [word if len(word := token.strip(punctuation)) > 2 else token for token in text.split()]
        return self.weigh(words, [word.lower() for word in words], text)

    def weigh(self, words: list[str], lower: list[str], text: str) -> float:
        """The compound of ``words``, which are ``text``'s; ``lower`` are the same in lower case."""
        found = [i for i, word in enumerate(lower) if word in self.lexicon]
        if not found:
            return 0.0
        capitals = sum(map(str.isupper, words))
        emphasis = 0 < capitals < len(words)
        phrased = _PHRASES.search(" ".join(lower)) is not None
        valences = [0.0] * len(words)
        for i in found:
            if not self._is_modifier(lower, i):
                valences[i] = self._valence(words, lower, i, emphasis, phrased)
        if "but" in lower:
            _weigh_around_but(valences, lower.index("but"))
        return self._compound(sum(valences), text)

    def spell(self, text: str) -> str:
        """``text`` with its emoji in words."""
        if not text.isascii() and not self._single.isdisjoint(text):
            text = _NOT_ASCII.sub(self._describe, text)
        return text.strip()

    def _describe(self, found: re.Match[str]) -> str:
        character, start = found.group(), found.start()
        if character not in self._spelled:
            return character
        glued = start > 0 and found.string[start - 1] != " "
        return f" {self._spelled[character]}" if glued else self._spelled[character]

    @staticmethod
    def _is_modifier(lower: list[str], i: int) -> bool:
        return lower[i] in vader.BOOSTER_DICT or (lower[i] == "kind" and lower[i + 1 : i + 2] == ["of"])

    def _valence(self, words: list[str], lower: list[str], i: int, emphasis: bool, phrased: bool) -> float:
        valence = self._own_valence(lower, i)
        # All that VADER's rules look at. They go through the whole list that they are given, for each word.
        near = lower[max(i - 3, 0) : i + 3]
        if emphasis and words[i].isupper():
            valence += vader.C_INCR if valence > 0 else -vader.C_INCR
        for distance in range(1, min(i, 3) + 1):
            before = lower[i - distance]
            if before in self.lexicon:
                continue
            if before in vader.BOOSTER_DICT:
                scalar = vader.scalar_inc_dec(words[i - distance], valence, emphasis)
                valence += scalar * (1.0, 0.95, 0.9)[distance - 1]
            if _may_negate(lower, i, distance):
                valence = self._negation_check(valence, near, distance - 1, min(i, 3))
            if distance == 3 and phrased:
                valence = self._special_idioms_check(valence, near, 3)
        if i and lower[i - 1] == "least":
            valence = self._least_check(valence, lower, i)
        return float(valence)

    def _own_valence(self, lower: list[str], i: int) -> float:
        """The lexicon's valence; "no" negates the word it stands before, and then has none itself."""
        valence = self.lexicon[lower[i]]
        if lower[i] == "no" and i + 1 < len(lower) and lower[i + 1] in self.lexicon:
            valence = 0.0
        before = lower[max(i - 3, 0) : i][::-1]
        if "no" in before[:2] or (before[2:] == ["no"] and before[0] in ("or", "nor")):
            valence = self.lexicon[lower[i]] * vader.N_SCALAR
        return valence

    def _compound(self, total: float, text: str) -> float:
        if total > 0:
            total += self._punctuation_emphasis(text)
        elif total < 0:
            total -= self._punctuation_emphasis(text)
        return round(float(vader.normalize(total)), 4)


def _weigh_around_but(valences: list[float], but: int) -> None:
    """Halve what stands before the "but" and raise what stands behind it, as VADER does it.

    For each word in turn, VADER changes the first one that has the same valence, which need not be
    the same word. It searches for that one from the start; here those of one valence are kept in order.
    """
    where: dict[float, list[int]] = {}
    for i, valence in enumerate(valences):
        where.setdefault(valence, []).append(i)
    for i in range(len(valences)):
        valence = valences[i]
        first = where[valence][0]
        if valence and first != but:
            heappop(where[valence])
            valences[first] = valence * (0.5 if first < but else 1.5)
            heappush(where.setdefault(valences[first], []), first)


def _may_negate(lower: list[str], i: int, distance: int) -> bool:
    """Whether VADER's negation rule, which is slow, can say anything about the word at ``i - distance``."""
    before = lower[i - distance]
    if before in _NEGATIONS or "n't" in before:
        return True
    return distance == 3 and (lower[i - 1] in _EMPHASIS or lower[i - 2] in _EMPHASIS)
