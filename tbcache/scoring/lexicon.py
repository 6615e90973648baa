"""What traders mean by words, as ``tbcache/data/trading_lexicon.tsv`` says it."""

from __future__ import annotations

from dataclasses import dataclass

#: By its first word, then its second one: the words that follow in each phrase, the most first.
Phrases = dict[str, dict[str, tuple[tuple[str, ...], ...]]]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What traders mean by words: valences (-4..4), words that mean nothing here, emoji as words.

    ``phrases`` are found by their first two words, the longest first; a phrase counts as one word.
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
            begun = phrases.setdefault(first, {})
            begun[second] = (*begun.get(second, ()), tuple(rest))
        return cls(
            valences={word: value for word, value in figures.items() if value},
            neutral=frozenset(word for word, value in figures.items() if not value),
            emoji={emoji: f" {value[1:]} " for emoji, value in rows if value.startswith("=")},
            phrases=phrases,
        )

    def find_phrases(self, words: list[str]) -> list[tuple[int, int]]:
        """Where phrases begin and end among ``words``, in lower case; of two that overlap, the first one."""
        found: list[tuple[int, int]] = []
        phrases, done = self.phrases, 0
        for at, word in enumerate(words[:-1]):
            # Half of all words begin some phrase, and few of those have its second word behind them.
            if word in phrases and done <= at and words[at + 1] in phrases[word]:
                for rest in phrases[word][words[at + 1]]:
                    end = at + 2 + len(rest)
                    if not rest or tuple(words[at + 2 : end]) == rest:
                        found.append((at, end))
                        done = end
                        break
        return found


def read_report_words(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The words of VADER that keep their valence in reports, and those of traders that have none there."""
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return (
        frozenset(word for word, value in rows if value == "="),
        frozenset(word for word, value in rows if value == "0"),
    )
