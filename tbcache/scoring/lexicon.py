"""What traders mean by words, as ``tbcache/data/trading_lexicon.tsv`` says it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

Phrases = dict[tuple[str, str], tuple[tuple[str, ...], ...]]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What traders mean by words: valences (-4..4), words that mean nothing here, emoji as words.

    ``phrases`` maps the first two words of each phrase to the phrases that begin so,
    longest first; a phrase counts as one word. ``seconds`` are the second words behind each first one.
    """

    valences: dict[str, float]
    neutral: frozenset[str]
    emoji: dict[str, str]
    phrases: Phrases
    seconds: dict[str, frozenset[str]]

    @classmethod
    def read(cls, text: str) -> Lexicon:
        """Read ``word<TAB>valence`` rows; a valence of ``=word`` stands for that word."""
        rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
        figures = {word: float(value) for word, value in rows if not value.startswith("=")}
        phrases: Phrases = {}
        seconds = defaultdict[str, set[str]](set)
        for phrase in sorted((word for word in figures if " " in word), key=len, reverse=True):
            first, second, *rest = phrase.split(" ")
            seconds[first].add(second)
            phrases[first, second] = (*phrases.get((first, second), ()), (first, second, *rest))
        return cls(
            valences={word: value for word, value in figures.items() if value},
            neutral=frozenset(word for word, value in figures.items() if not value),
            emoji={emoji: f" {value[1:]} " for emoji, value in rows if value.startswith("=")},
            phrases=phrases,
            seconds={
                first: frozenset(second for begin, second in phrases if begin == first)
                for first, _ in phrases
            },
        )

    def find_phrases(self, words: list[str]) -> list[tuple[int, int]]:
        """Where phrases begin and end among ``words``, in lower case; of two that overlap, the first one."""
        begun = self.seconds.keys() & words
        # Most texts have no first word of any phrase, and of the others most no second one of it.
        for first in begun:
            if not self.seconds[first].isdisjoint(words):
                break
        else:
            return []
        found, done = list[tuple[int, int]](), 0
        for at in [at for at, word in enumerate(words[:-1]) if word in begun]:
            if at >= done and (known := self.phrases.get((words[at], words[at + 1]))):
                end = next((at + len(p) for p in known if tuple(words[at : at + len(p)]) == p), 0)
                if end:
                    found.append((at, end))
                    done = end
        return found
