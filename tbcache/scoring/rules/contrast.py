"""What holds in spite of what was said before: of "missed and still rallied" the second half is the news, and
"everyone hates it, which is why I own it" is no hate, nor is "they hated it at 40 and look at it now".
"""

from __future__ import annotations

from tbcache.scoring.rules.reading import UNDERSTOOD, Reading

#: The weights that VADER gives to what stands around a "but".
_BEFORE, _AFTER = 0.5, 1.5
_LINKS = frozenset(("and", "but", "yet", "is", "are"))
#: Those whom a contrarian acts against, and the turn by which he says so: "which is exactly why".
_CROWD = frozenset(("everyone", "everybody", "nobody", "street", "crowd", "analysts", "media"))
#: Those who felt something once, and what: 1 for good, -1 for bad.
_CROWDS = _CROWD | frozenset(("they", "people", "experts", "skeptics", "twitter", "reddit"))
_FELT = {
    **dict.fromkeys("hated doubted mocked dismissed ignored laughed".split(), -1),
    **dict.fromkeys(("wrote off", "laughed at", "gave up"), -1),
    **dict.fromkeys("loved praised worshipped chased hyped".split(), 1),
}
#: The last word of a turn that proves them wrong: "look at it now", "here we are", "it keeps climbing".
_FAR = 14
_TURNS = {"now": "look", "are": "here", "keeps": "it"}
_REASONS = frozenset(("is", "exactly", "precisely"))
_AGAINST = -0.5
TRIGGERS = frozenset(("still", "anyway", "regardless", "why", *_FELT))


def read_contrasts(reading: Reading, valences: list[float]) -> list[float]:
    """Weigh what stands behind "and still" above what stands before it."""
    for i, word in enumerate(reading.words):
        if word == "still" and reading.words[i - 1 : i] and reading.words[i - 1] in _LINKS:
            return _weigh(reading, i, valences)
        if word == "why" and i > 1 and reading.words[i - 1] in _REASONS:
            return _read_against_crowd(reading, i, valences)
        if word in ("anyway", "regardless") and not reading.next_word(i):
            return _weigh(reading, next(iter(reading.before(i, 4)[::-1]), i), valences)
        if word in _FELT and _is_proved_wrong(reading, i):
            return [*valences[:i], -_FELT[word] * UNDERSTOOD, *valences[i + 1 :]]
    return valences


def _is_proved_wrong(reading: Reading, i: int) -> bool:
    """Whether a crowd felt what the word at ``i`` says, and its sentence goes on with how that turned out."""
    if reading.find(reading.before(i, 3), _CROWDS) is None:
        return False
    words = reading.words
    behind = range(i + 1, min(i + _FAR, reading.sentence(i).stop))
    return any(words[j] in _TURNS and _TURNS[words[j]] in words[j - 3 : j] for j in behind)


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
