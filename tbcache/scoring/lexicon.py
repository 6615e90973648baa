"""What traders mean by words, as ``tbcache/data/trading_lexicon.tsv`` says it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

Phrases = dict[tuple[str, str], tuple[tuple[str, ...], ...]]


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

    def find_phrases(self, words: list[str]) -> list[tuple[int, int]]:
        """Where phrases begin and end among ``words``, in lower case; of two that overlap, the first one."""
        # Most texts have none.
        if self.phrases.keys().isdisjoint(pairwise(words)):
            return []
        return self._apart(words, [i for i, pair in enumerate(pairwise(words)) if pair in self.phrases])

    def _apart(self, words: list[str], begun: list[int]) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        done = 0
        for at in begun:
            if at >= done and (end := self._end(words, at)):
                found.append((at, end))
                done = end
        return found

    def _end(self, words: list[str], at: int) -> int:
        """Where the longest phrase ends that begins at ``at``; 0 where there is none."""
        known = self.phrases[words[at], words[at + 1]]
        return next((at + len(p) for p in known if tuple(words[at : at + len(p)]) == p), 0)
