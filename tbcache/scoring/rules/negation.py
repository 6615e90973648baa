"""Negation at a distance: VADER's reaches three words, "I do not think that this is going to rally" seven.

What VADER has negated already is known exactly (:func:`_is_done`), so that nothing is turned twice.
"""

from __future__ import annotations

from tbcache.scoring.rules.reading import NEGATED, Reading, is_negation
from tbcache.scoring.vader import EMPHASIS, NEGATIONS

_REACH = 9
#: Behind these a negation denies all that follows, and not the first of it alone: "I don't think", "nobody
#: wants".
_OPINIONS = frozenset(
    "think believe see expect imagine feel bet say buy suppose know reckon trust like understand want "
    "wants wanted plan plans planning intend intends going worried worry scared afraid concerned nervous "
    "fear worries fears concerns".split()
)
#: Behind these a negation denies something else: "not kidding", "can't wait", "not only".
_OTHERWISE = frozenset(
    "kidding joking lying lie wait worry forget only just mention stop miss surprised surprise doubt".split()
)
#: Words behind which something is given, and not denied: "I don't see a rally with this demand".
_GIVEN = frozenset(("with", "given", "amid", "after", "despite", "as"))
#: Words of what nobody foresaw, which was done all the same.
_FORESEEN = frozenset("expected expects saw knew predicted thought".split())
#: "Never been more bullish", "never been this cheap": what was never so is so now.
_EVER = frozenset(("been", "seen", "felt", "looked", "had"))
_SO = frozenset(("more", "less", "better", "stronger", "worse", "so", "this", "as"))
#: Those who do not exist do nothing: "nobody is selling".
_NOBODY = frozenset(("nobody", "noone", "no-one", "none"))
_ANYBODY = frozenset(("any", "anyone", "anybody", "one", "ever"))
_CANNOT = frozenset(("can't", "cannot", "cant", "couldn't", "couldnt"))
_PRONOUNS = frozenset(("them", "us", "you", "this", "that", "these", "those", "it"))
# Phrases that negate: their first word, and the words that must follow it.
_PHRASES = {
    **dict.fromkeys("wrong mistake foolish stupid crazy insane dumb silly reluctant".split(), ("to",)),
    **dict.fromkeys(
        ("imagine",),
        tuple("being buying selling shorting holding owning betting panicking not".split()),
    ),
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
    "refuse": ("to",),
    "refusing": ("to",),
    "refused": ("to",),
    "too": ("early", "soon"),
    "hardly": tuple(_ANYBODY),
    "barely": tuple(_ANYBODY),
    "scarcely": tuple(_ANYBODY),
    "no": tuple(
        "sign signs evidence chance way hope reason reasons longer need point intention intent plan plans "
        "interest desire appetite sense cause excuse case justification basis indication hurry rush risk "
        "fear fears worries concern concerns panic hint prospect incentive".split()
    ),
}
TRIGGERS = frozenset((*NEGATIONS, *_PHRASES, *_NOBODY))


def read_negations(reading: Reading, valences: list[float]) -> list[float]:
    """Negate what a negation means beyond the words that VADER looks at."""
    valences = list(valences)
    for i, word in enumerate(reading.words):
        if is_negation(word):
            _end_with_sentence(reading, i, valences)
        if word in _PHRASES and reading.next_word(i) in _PHRASES[word]:
            _negate(reading, i, valences)
            # The bad meaning of the word itself does not count any more.
            valences[i] = 0.0
        elif word in _NOBODY or (word == "no" and reading.next_word(i) == "one"):
            if not _FORESEEN.isdisjoint(reading.words[i + 1 : i + 3]):
                continue
            _negate(reading, i, valences, _subject(reading, i, valences))
        elif is_negation(word) and word not in ("no", "without"):
            if word == "never" and reading.next_word(i) in EMPHASIS:
                continue  # "never so good"
            if word == "never" and reading.next_word(i) in _EVER and reading.next_word(i + 1) in _SO:
                _restore(reading, i, valences)
                continue
            if _OTHERWISE.isdisjoint(reading.words[i + 1 : i + 3]) and not _is_much(reading, i):
                _negate(reading, i, valences)
            else:
                _restore(reading, i, valences)
    return valences


def _negate(reading: Reading, i: int, valences: list[float], subject: int | None = None) -> None:
    """Negate the first rated word in reach of ``i``, and all of them behind an opinion ("I don't think").

    ``subject`` is the last word of those who are denied, where that is another one.
    """
    is_opinion = not _OPINIONS.isdisjoint(reading.words[i + 1 : i + 3])
    for j in reading.after(i if subject is None else subject, _REACH):
        if reading.words[j] in _GIVEN or is_negation(reading.words[j]):
            return
        if not valences[j] or (reading.words[j] in _OPINIONS and not _is_feeling(valences[j])):
            continue
        if not _is_done(reading.words, i, j):
            valences[j] *= NEGATED
        if not is_opinion:
            return


def _is_feeling(valence: float) -> bool:
    """Whether an opinion's own word is rated as a feeling is: "worried", and not "believe"."""
    return abs(valence) > 0.8


def _restore(reading: Reading, i: int, valences: list[float]) -> None:
    """Give back what VADER has negated behind a word that denies something else: "can't wait to buy"."""
    for j in reading.after(i, 3):
        if reading.words[j] not in _OTHERWISE and _is_done(reading.words, i, j):
            valences[j] /= NEGATED


def _end_with_sentence(reading: Reading, i: int, valences: list[float]) -> None:
    """Give back what VADER has negated in the next sentence: "This has not changed. Buying more"."""
    # Most negations have nothing rated behind them that is of another sentence.
    rated = [j for j in range(i + 1, min(i + 4, len(valences))) if valences[j]]
    for j in rated and [j for j in rated if j >= reading.sentence(i).stop]:
        if _is_done(reading.words, i, j):
            valences[j] /= NEGATED


def _is_much(reading: Reading, i: int) -> bool:
    """Whether this is one who "can't sell fast enough"."""
    return reading.words[i] in _CANNOT and reading.find(reading.after(i, 7), ("enough",)) is not None


def _subject(reading: Reading, i: int, valences: list[float]) -> int:
    """The place of the last word of "none of the bulls", who are not rated themselves."""
    if reading.next_word(i) != "of":
        return i
    if reading.next_word(i + 1) in _PRONOUNS:
        return i + 2
    rated = next((j for j in reading.after(i, 4) if valences[j]), i)
    if rated != i:
        valences[rated] = 0.0
    return rated


def _is_done(words: list[str], i: int, j: int) -> bool:
    """Whether VADER has negated the word at ``j`` by the one at ``i``."""
    word, distance = words[i], j - i
    if word == "no":
        return distance <= 2
    if word not in NEGATIONS and "n't" not in word:
        return False
    # "So" and "this" right before a word stress it, by VADER, whatever stands before them.
    return distance <= 3 and not (distance == 3 and words[j - 1] in EMPHASIS)
