"""What the rules read: the words of a text, and where its clauses and sentences end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable

from tbcache.scoring.vader import NEGATIONS

#: The valence of what a rule has understood, on VADER's scale.
UNDERSTOOD = 2.0
#: The factor of a negated valence, as in VADER.
NEGATED = -0.74
_ENDS = frozenset(".,;:!?")
_MARKS = frozenset(".,;:!?-|")
_FULL_STOPS = frozenset(".!?")
_CLOSING = "\"')]"
_LAST = _FULL_STOPS | frozenset(_CLOSING)
_ABBREVIATIONS = frozenset(
    "inc. corp. co. ltd. vs. no. st. mr. mrs. dr. approx. est. e.g. i.e. u.s. u.k.".split()
)
_DASHES = frozenset(("-", "--", "|"))
_BEGINS = frozenset(
    ("but", "while", "whereas", "although", "though", "however", "yet", "because", "since", "unless", "until")
)


class Reading:
    """A text in words: ``words`` in lower case and bare, ``tokens`` the same with their punctuation.

    A phrase of the lexicon is one word.
    """

    __slots__ = ("_clauses", "_sentences", "tokens", "words")

    def __init__(self, words: list[str], tokens: list[str]) -> None:
        self.words = words
        self.tokens = tokens
        # Where each begins, and the end of the last one. Many rules look at neither.
        self._clauses: list[int] = []
        self._sentences: list[int] = []

    def before(self, i: int, most: int) -> range:
        """The places of up to ``most`` words of its clause before the one at ``i``, nearest first."""
        starts = self._clauses or self._find_clauses()
        return range(i - 1, max(i - most, starts[bisect_right(starts, i) - 1]) - 1, -1)

    def after(self, i: int, most: int) -> range:
        """The places of up to ``most`` words of the same clause behind the one at ``i``."""
        starts = self._clauses or self._find_clauses()
        return range(i + 1, min(i + most + 1, starts[bisect_right(starts, i)]))

    def sentence(self, i: int) -> range:
        """The places of the words of the sentence that the word at ``i`` stands in."""
        starts = self._sentences = self._sentences or _sentence_starts(self.tokens)
        end = bisect_right(starts, i)
        return range(starts[end - 1], starts[end])

    def _find_clauses(self) -> list[int]:
        self._clauses = _clause_starts(self.words, self.tokens)
        return self._clauses

    def find(self, places: Iterable[int], among: Collection[str]) -> int | None:
        """The first of ``places`` whose word is one of ``among``."""
        return next((j for j in places if self.words[j] in among), None)

    def next_word(self, i: int) -> str:
        """The word behind the one at ``i`` in its clause; ``""`` where it is the last."""
        return self.words[i + 1] if self.after(i, 1) else ""

    def last_word(self, i: int) -> str:
        """The word before the one at ``i`` in its clause; ``""`` where it is the first."""
        return self.words[i - 1] if self.before(i, 1) else ""

    def is_negated(self, i: int) -> bool:
        """Whether one of the three words before the one at ``i`` negates it."""
        return any(is_negation(self.words[j]) for j in self.before(i, 3))


def _clause_starts(words: list[str], tokens: list[str]) -> list[int]:
    marks = [(i, token) for i, token in enumerate(tokens) if token[-1] in _MARKS]
    starts = [i + 1 for i, token in marks if _ends_clause(token)]
    if not _BEGINS.isdisjoint(words):
        starts = sorted({*starts, *(i for i, word in enumerate(words) if word in _BEGINS)} - {0})
    if not starts or starts[-1] != len(words):
        starts.append(len(words))
    return [0, *starts]


def _ends_clause(token: str) -> bool:
    return token in _DASHES or (token[-1] in _ENDS and token.lower() not in _ABBREVIATIONS)


def _sentence_starts(tokens: list[str]) -> list[int]:
    # A sign that closes a quotation or a bracket stands behind the full stop.
    ends = (
        i + 1
        for i, token in enumerate(tokens)
        if token[-1] in _LAST
        and token.rstrip(_CLOSING)[-1:] in _FULL_STOPS
        and token.lower() not in _ABBREVIATIONS
    )
    return [*dict.fromkeys((0, *ends, len(tokens)))] if tokens else [0, 0]


#: Gives the valences anew; those that it was given stay as they are.
Rule = Callable[[Reading, list[float]], list[float]]


def is_negation(word: str) -> bool:
    return word in NEGATIONS or word == "no" or "n't" in word
