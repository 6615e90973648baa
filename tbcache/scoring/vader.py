"""VADER: the sentiment of a text from a lexicon and a few rules (Hutto & Gilbert, 2014).

Rules and figures are those of vaderSentiment 3.3.2, to the same digit; its licence stands beside its
lexicon, in ``tbcache/data/VADER_LICENSE.txt``. What is left out is what a compound does not need: the
positive, negative and neutral shares, and looking at words that carry nothing.
"""

from __future__ import annotations

import copy
import math
import re
from heapq import heappop, heappush
from importlib.resources import files
from string import punctuation

#: The addend of a word of degree for the word behind it; most that lessen, lessen by as much.
_DEGREE = 0.293
#: The addend of capitals, where not all is in capitals.
_CAPITALS = 0.733
#: The factor of a negated word's valence.
_NEGATED = -0.74

# They stand side by side, as one name a line would hide the rest.
_MORE = """
    absolutely amazingly awfully completely considerable considerably decidedly deeply effing enormous
    enormously entirely especially exceptional exceptionally extreme extremely fabulously flipping flippin
    frackin fracking fricking frickin frigging friggin fully fuckin fucking fuggin fugging greatly hella
    highly hugely incredible incredibly intensely major majorly more most particularly purely quite really
    remarkably so substantially thoroughly total totally tremendous tremendously uber unbelievably unusually
    utter utterly very
"""
_LESS = """
    almost barely hardly kinda kindof kind-of less little marginal marginally occasional occasionally partly
    scarce scarcely slight slightly somewhat sorta sortof sort-of
"""
_NOT = """
    aint arent cannot cant couldnt darent didnt doesnt ain't aren't can't couldn't daren't didn't doesn't
    dont hadnt hasnt havent isnt mightnt mustnt neither don't hadn't hasn't haven't isn't mightn't mustn't
    neednt needn't never none nope nor not nothing nowhere oughtnt shant shouldnt uhuh wasnt werent oughtn't
    shan't shouldn't uh-uh wasn't weren't without wont wouldnt won't wouldn't rarely seldom despite
"""
BOOSTERS = {
    **dict.fromkeys(_MORE.split(), _DEGREE),
    **dict.fromkeys((*_LESS.split(), "just enough", "kind of", "sort of"), -_DEGREE),
}
NEGATIONS = frozenset(_NOT.split())
#: Phrases that mean something else than their words.
IDIOMS = {
    "the shit": 3.0,
    "the bomb": 3.0,
    "bad ass": 1.5,
    "badass": 1.5,
    "bus stop": 0.0,
    "yeah right": -2.0,
    "kiss of death": -1.5,
    "to die for": 3.0,
    "beating heart": 3.5,
}
#: Words that stress what follows them.
EMPHASIS = frozenset(("so", "this"))
# A class of the emoji themselves would be exact, but most of them are tried one by one.
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
# A word of each phrase, its rarest.
_PHRASED = frozenset(
    ("shit", "bomb", "ass", "stop", "right", "death", "die", "heart", "enough", "kind", "sort")
)
# Without one of these, or "n't", no rule changes a word's valence.
_RULED = NEGATIONS | EMPHASIS | _PHRASED | BOOSTERS.keys() | {"no", "least"}


class Vader:
    """VADER that computes the compound only. Threads may share it once ``lexicon`` is as it stays."""

    def __init__(self) -> None:
        #: The valence of each word, -4..4.
        self.lexicon = {word: float(valence) for word, valence in _rows("vader_lexicon.tsv")}
        self._spelled = dict(_rows("vader_emoji.tsv"))
        self._emoji = frozenset(self._spelled)

    def with_lexicon(self, lexicon: dict[str, float]) -> Vader:
        """The same rules with another lexicon."""
        other = copy.copy(self)
        other.lexicon = lexicon
        return other

    def compound(self, text: str) -> float:
        """The compound of ``text``, -1..1, rounded to four digits."""
        text = self.spell(text)
        # A word that is short without its punctuation was an emoticon, and is kept whole.
        words = [word if len(word := token.strip(punctuation)) > 2 else token for token in text.split()]
        return self.weigh(words, [word.lower() for word in words], text)

    def weigh(self, words: list[str], lower: list[str], text: str) -> float:
        """The compound of ``words``, which are ``text``'s; ``lower`` are the same in lower case."""
        return self.total(self.valences(words, lower, text), lower, text)

    def valences(self, words: list[str], lower: list[str], text: str) -> list[float]:
        """The valence of each of ``words``, which are ``text``'s, before a "but" is weighed."""
        valences, lexicon = [0.0] * len(words), self.lexicon
        found = [i for i, word in enumerate(lower) if word in lexicon]
        if not found:
            return valences
        contracted = "'" in text and "n't" in " ".join(lower)
        is_plain = not contracted and _RULED.isdisjoint(lower)
        # Where no word that counts is in capitals, nobody has to look at the others.
        may_shout = not is_plain or any(words[i].isupper() for i in found)
        some_capitals = may_shout and 0 < sum(map(str.isupper, words)) < len(words)
        phrased = not is_plain and not _PHRASED.isdisjoint(lower)
        for i in found:
            # Most words before a word change nothing.
            if is_plain or not (phrased or contracted or _is_ruled(lower, i)):
                valence = lexicon[lower[i]]
                valences[i] = _raised(valence, words[i].isupper()) if some_capitals else valence
            elif not _is_modifier(lower, i):
                valences[i] = self._valence(words, lower, i, some_capitals, phrased)
        return valences

    def total(self, valences: list[float], lower: list[str], text: str) -> float:
        """The compound of a text's ``valences``, which are weighed around a "but" in place."""
        if "but" in lower:
            _weigh_around_but(valences, lower.index("but"))
        total = sum(valences)
        return _compound(total, text) if total else 0.0

    def spell(self, text: str) -> str:
        """``text`` with its emoji in words."""
        if not text.isascii() and not self._emoji.isdisjoint(text):
            text = _NOT_ASCII.sub(self._describe, text)
        return text.strip()

    def _describe(self, found: re.Match[str]) -> str:
        character, start = found.group(), found.start()
        if character not in self._spelled:
            return character
        glued = start > 0 and found.string[start - 1] != " "
        return f" {self._spelled[character]}" if glued else self._spelled[character]

    def _valence(
        self, words: list[str], lower: list[str], i: int, some_capitals: bool, phrased: bool
    ) -> float:
        """The valence of the word at ``i``, by the lexicon and by the three words before it."""
        valence = _raised(self._own_valence(lower, i), some_capitals and words[i].isupper())
        for distance in range(1, min(i, 3) + 1):
            at = i - distance
            if lower[at] in self.lexicon:
                continue
            if lower[at] in BOOSTERS:
                shouted = some_capitals and words[at].isupper()
                valence += _boost(lower[at], valence, shouted) * (1.0, 0.95, 0.9)[distance - 1]
            valence = _negate(valence, lower[at:i])
            if distance == 3 and phrased:
                valence = _read_phrases(valence, lower[at : i + 3])
        if "least" not in self.lexicon and _is_least(lower, i):
            valence *= _NEGATED
        return valence

    def _own_valence(self, lower: list[str], i: int) -> float:
        """The lexicon's valence; "no" negates the word it stands before, and then has none itself."""
        valence = self.lexicon[lower[i]]
        if lower[i] == "no" and i + 1 < len(lower) and lower[i + 1] in self.lexicon:
            valence = 0.0
        before = lower[max(i - 3, 0) : i][::-1]
        if "no" in before[:2] or (before[2:] == ["no"] and before[0] in ("or", "nor")):
            valence = self.lexicon[lower[i]] * _NEGATED
        return valence


def _rows(name: str) -> list[tuple[str, str]]:
    text = files("tbcache").joinpath(f"data/{name}").read_text("utf-8")
    # The text is split at line feeds: splitlines also ends lines at separators that an emoticon may hold.
    rows = (line.partition("\t") for line in text.split("\n") if line)
    return [(word, meaning) for word, _, meaning in rows]


def _is_ruled(lower: list[str], i: int) -> bool:
    """Whether the word at ``i``, or one of the three before it, is one that a rule looks at."""
    return not _RULED.isdisjoint(lower[i - 3 if i > 3 else 0 : i + 1])


def _is_modifier(lower: list[str], i: int) -> bool:
    return lower[i] in BOOSTERS or (lower[i] == "kind" and lower[i + 1 : i + 2] == ["of"])


def _raised(valence: float, shouted: bool) -> float:
    if not shouted:
        return valence
    return valence + (_CAPITALS if valence > 0 else -_CAPITALS)


def _boost(word: str, valence: float, shouted: bool) -> float:
    """What the word of degree adds to a word of ``valence``."""
    boost = -BOOSTERS[word] if valence < 0 else BOOSTERS[word]
    if shouted:
        boost += _CAPITALS if valence > 0 else -_CAPITALS
    return boost


def _negate(valence: float, before: list[str]) -> float:
    """``valence`` after the first of the words ``before``, of which the last stands next to the rated one."""
    first, *between = before
    never_so = first == "never" and not EMPHASIS.isdisjoint(between[:1])
    # By VADER's rule the third word before may be any one where the next is "so" or "this".
    if never_so or not EMPHASIS.isdisjoint(between[1:]):
        return valence * 1.25
    if first == "without" and "doubt" in between:
        return valence
    return valence * _NEGATED if first in NEGATIONS or "n't" in first else valence


def _read_phrases(valence: float, near: list[str]) -> float:
    """``valence`` by the idioms that the fourth of the words ``near`` ends, follows or begins."""
    three, two, one, rated, *after = near
    before = (f"{two} {one}", f"{three} {two} {one}", f"{three} {two}")
    known = (f"{one} {rated}", f"{two} {one} {rated}", *before)
    valence = next((IDIOMS[phrase] for phrase in known if phrase in IDIOMS), valence)
    for length in range(1, len(after) + 1):
        valence = IDIOMS.get(" ".join((rated, *after[:length])), valence)
    return valence + sum(BOOSTERS.get(phrase, 0.0) for phrase in before)


def _is_least(lower: list[str], i: int) -> bool:
    """Whether "least" negates the word at ``i``: "at least" and "very least" do not."""
    return i > 0 and lower[i - 1] == "least" and (i == 1 or lower[i - 2] not in ("at", "very"))


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


def _compound(total: float, text: str) -> float:
    """The sum of the valences, which is not 0, with the marks of ``text``, brought into -1..1."""
    if "!" in text or "?" in text:
        total += math.copysign(_marks(text), total)
    return round(total / math.sqrt(total * total + 15), 4)


def _marks(text: str) -> float:
    """What exclamation and question marks add."""
    questions = text.count("?")
    asked = 0.0 if questions < 2 else questions * 0.18 if questions < 4 else 0.96
    return min(text.count("!"), 4) * 0.292 + asked
