"""What holds in spite of what was said before: of "missed and still rallied" the second half is the news, and
"everyone hates it, which is why I own it" is no hate.
"""

from __future__ import annotations

from tbcache.scoring.rules.reading import Reading

#: The weights that VADER gives to what stands around a "but".
_BEFORE, _AFTER = 0.5, 1.5
_LINKS = frozenset(("and", "but", "yet", "is", "are"))
#: Those whom a contrarian acts against, and the turn by which he says so: "which is exactly why".
_CROWD = frozenset(("everyone", "everybody", "nobody", "street", "crowd", "analysts", "media"))
_REASONS = frozenset(("is", "exactly", "precisely"))
_AGAINST = -0.5
TRIGGERS = frozenset(("still", "anyway", "regardless", "why"))


def read_contrasts(reading: Reading, valences: list[float]) -> list[float]:
    """Weigh what stands behind "and still" above what stands before it."""
    for i, word in enumerate(reading.words):
        if word == "still" and reading.words[i - 1 : i] and reading.words[i - 1] in _LINKS:
            return _weigh(reading, i, valences)
        if word == "why" and i > 1 and reading.words[i - 1] in _REASONS:
            return _read_against_crowd(reading, i, valences)
        if word in ("anyway", "regardless") and not reading.next_word(i):
            return _weigh(reading, next(iter(reading.before(i, 4)[::-1]), i), valences)
    return valences


def _read_against_crowd(reading: Reading, i: int, valences: list[float]) -> list[float]:
    """The valences with those before the "why" turned, where they are what a crowd feels."""
    before = range(reading.sentence(i).start, i)
    if reading.find(before, _CROWD) is None:
        return valences
    valences = list(valences)
    for j in before:
        valences[j] *= _AGAINST
    return valences


def _weigh(reading: Reading, i: int, valences: list[float]) -> list[float]:
    """The valences with those of its sentence lessened before the word at ``i``, and raised behind it."""
    valences = list(valences)
    for j in reading.sentence(i):
        valences[j] *= _BEFORE if j < i else _AFTER
    return valences
