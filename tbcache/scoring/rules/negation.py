"""Negation at a distance: VADER's reaches three words, "I do not think that this is going to rally" seven."""

from __future__ import annotations

from tbcache.scoring.rules.reading import NEGATED, Reading, is_negation
from tbcache.scoring.vader import NEGATIONS

_REACH = 9
#: What VADER itself has negated lies this near.
_NEAR = 3
_OPINIONS = frozenset(
    "think believe see expect imagine feel bet say buy suppose know reckon trust like understand".split()
)
#: Behind these a negation denies something else: "not kidding", "can't wait", "not only".
_OTHERWISE = frozenset(
    "kidding joking lying lie wait worry forget only just mention stop miss surprised".split()
)
#: What stands behind these is given, and not denied: "I don't see a rally with this demand".
_GIVEN = frozenset(("with", "given", "amid", "after", "despite"))
# Phrases that negate: their first word, and the words that must follow it.
_PHRASES = {
    "far": ("from",),
    "anything": ("but",),
    "lack": ("of",),
    "failed": ("to",),
    "fails": ("to",),
    "fail": ("to",),
    "failing": ("to",),
    "unable": ("to",),
    "unlikely": ("to",),
    "refuses": ("to",),
    "no": ("sign", "signs", "evidence", "chance", "way", "hope", "reason", "longer"),
}
TRIGGERS = frozenset((*NEGATIONS, *_PHRASES))


def read_negations(reading: Reading, valences: list[float]) -> list[float]:
    """Negate what a negation means beyond the words that VADER looks at."""
    valences = list(valences)
    for i, word in enumerate(reading.words):
        if word in _PHRASES and reading.words[i + 1 : i + 2] and reading.words[i + 1] in _PHRASES[word]:
            # Of these VADER has negated "no" alone, and what is bad in the word itself is meant no more.
            _negate(reading, i, 1 if word != "no" else _NEAR + 1, valences)
            valences[i] = 0.0
        elif is_negation(word) and word != "no" and _OTHERWISE.isdisjoint(reading.words[i + 1 : i + 3]):
            _negate(reading, i, _NEAR + 1, valences)
    return valences


def _negate(reading: Reading, i: int, nearest: int, valences: list[float]) -> None:
    """Negate the first rated word in reach of ``i``, and all of them behind an opinion ("I don't think")."""
    is_opinion = not _OPINIONS.isdisjoint(reading.words[i + 1 : i + 3])
    for j in reading.after(i, _REACH):
        if reading.words[j] in _GIVEN:
            return
        if not valences[j] or reading.words[j] in _OPINIONS:
            continue
        if j - i >= nearest:
            valences[j] *= NEGATED
        if not is_opinion:
            return
