"""Marks of irony: who writes "/s" means the opposite."""

from __future__ import annotations

from tbcache.scoring.rules.reading import NEGATED, Reading

#: These turn all that is said.
_MARKS = frozenset(("/s", "sarcasm", "/sarcasm", "/sarc"))
# These turn praise alone: no one mocks a fall by praising it.
_MOCKERY = {
    "clown": (("face",),),
    "rolling": (("eyes",),),
    "oh": (("great",), ("wonderful",), ("fantastic",), ("joy",)),
    "just": (("great",), ("wonderful",), ("perfect",), ("what", "we", "needed"), ("what", "i", "needed")),
    "what": (("could", "go", "wrong"), ("could", "possibly", "go", "wrong")),
    "thanks": (("for", "nothing"),),
    "said": (("no", "one", "ever"), ("nobody", "ever")),
}
TRIGGERS = _MARKS | _MOCKERY.keys()


def read_irony(reading: Reading, valences: list[float]) -> list[float]:
    """Turn what a mark of irony says is not meant."""
    words = reading.words
    if not _MARKS.isdisjoint(words):
        return [NEGATED * valence for valence in valences]
    if any(word in _MOCKERY and _mocks(words, i) for i, word in enumerate(words)):
        return [NEGATED * valence if valence > 0 else valence for valence in valences]
    return valences


def _mocks(words: list[str], i: int) -> bool:
    return any(tuple(words[i + 1 : i + 1 + len(rest)]) == rest for rest in _MOCKERY[words[i]])
