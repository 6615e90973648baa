"""What the rules read: the words of a text, and where its clauses end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from tbcache.scoring.vader import NEGATIONS

#: The valence of what a rule has understood, on VADER's scale.
CLEAR = 2.0
#: What a negated valence is multiplied by, as in VADER.
NEGATED = -0.74
_ENDS = frozenset(".,;:!?")
_DASHES = frozenset(("-", "--", "|"))
_BEGINS = frozenset(("but", "while", "whereas", "although", "though", "however", "yet", "because", "since"))


@dataclass(eq=False)
class Reading:
    """A text in words: ``words`` in lower case and bare, ``tokens`` the same with their punctuation.

    A phrase of the lexicon is one word.
    """

    words: list[str]
    tokens: list[str]

    @cached_property
    def clauses(self) -> list[int]:
        """The number of the clause that each word stands in."""
        numbers, number = [], 0
        for word, token in zip(self.words, self.tokens, strict=True):
            if word in _BEGINS:
                number += 1
            numbers.append(number)
            if token[-1] in _ENDS or token in _DASHES:
                number += 1
        return numbers

    def before(self, i: int, most: int) -> range:
        """The places of up to ``most`` words of the same clause before the one at ``i``, nearest first."""
        end = max(i - most, 0)
        start = next((j + 1 for j in range(i - 1, end - 1, -1) if self.clauses[j] != self.clauses[i]), end)
        return range(i - 1, start - 1, -1)

    def after(self, i: int, most: int) -> range:
        """The places of up to ``most`` words of the same clause behind the one at ``i``."""
        end = min(i + most + 1, len(self.words))
        return range(i + 1, next((j for j in range(i + 1, end) if self.clauses[j] != self.clauses[i]), end))

    def find(self, places: Iterable[int], among: Collection[str]) -> int | None:
        """The first of ``places`` whose word is one of ``among``."""
        return next((j for j in places if self.words[j] in among), None)

    def is_negated(self, i: int) -> bool:
        """Whether one of the three words before the one at ``i`` negates it."""
        return any(is_negation(self.words[j]) for j in self.before(i, 3))


#: Gives the valences anew; those that it was given stay as they are.
Rule = Callable[[Reading, list[float]], list[float]]


def is_negation(word: str) -> bool:
    return word in NEGATIONS or word == "no" or "n't" in word
