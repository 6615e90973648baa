"""Marks of irony: who writes "/s" means the opposite, in the sentence that bears the mark."""

from __future__ import annotations

from tbcache.scoring.rules.reading import NEGATED, Reading

#: These turn all that their sentence says.
_MARKS = frozenset(("/s", "sarcasm", "/sarcasm", "/sarc"))
# These turn praise alone: no one mocks a fall by praising it.
_MOCKERY = {
    "clown": (("face",),),
    "rolling": (("eyes",),),
    "oh": (("great",), ("wonderful",), ("fantastic",), ("joy",)),
    "just": (("great",), ("wonderful",), ("perfect",), ("what", "we", "needed"), ("what", "i", "needed")),
    "what": (("could", "go", "wrong"), ("could", "possibly", "go", "wrong")),
    "thanks": (("for", "nothing"),),
    **dict.fromkeys(
        "great nice lovely wonderful fantastic perfect awesome brilliant".split(), (("another",),)
    ),
    "said": (("no", "one", "ever"), ("nobody", "ever")),
}
#: Praise that stands alone before bad news: "Nice, down 20%".
_PRAISE = frozenset(
    "great nice lovely wonderful fantastic perfect awesome brilliant amazing cool congrats congratulations "
    "bravo love loving".split()
)
#: "Love" mocks where it is a spectacle.
_SPECTACLES = frozenset(("watching", "seeing", "when", "how"))
#: Marks that comment on the sentence before them, where they begin one of their own.
_COMMENTS = _MARKS | {"clown", "rolling", "what", "thanks", "said", "just"}
TRIGGERS = _MARKS | _MOCKERY.keys() | _PRAISE


def read_irony(reading: Reading, valences: list[float]) -> list[float]:
    """Turn what a mark of irony says is not meant."""
    words = reading.words
    valences = _without_mock_praise(reading, valences)
    # Each sentence once: two marks mean no more than one, and a text of nothing else takes no longer to read.
    turned: set[tuple[int, bool]] = set()
    for i, word in enumerate(words):
        if word in _MARKS or (word in _MOCKERY and _mocks(words, i)):
            places, praise_alone = _marked(reading, i), word not in _MARKS
            if (places.start, praise_alone) not in turned:
                turned.add((places.start, praise_alone))
                _turn(places, valences, praise_alone=praise_alone)
    return valences


def _turn(places: range, valences: list[float], *, praise_alone: bool) -> None:
    for j in places:
        if valences[j] > 0 or not praise_alone:
            valences[j] *= NEGATED


def _without_mock_praise(reading: Reading, valences: list[float]) -> list[float]:
    """``valences`` without the praise of what the rest of its sentence calls bad."""
    valences = list(valences)
    for i, word in enumerate(reading.words):
        if word in _PRAISE and valences[i] > 0 and _stands_alone(reading, i):
            rest = reading.after(i, 12) if word in ("love", "loving") else _rest(reading, i)
            if sum(valences[j] for j in rest) < 0:
                valences[i] = 0.0
    return valences


def _stands_alone(reading: Reading, i: int) -> bool:
    if reading.words[i] in ("love", "loving"):
        return reading.next_word(i) in _SPECTACLES
    return reading.sentence(i)[0] == i and reading.tokens[i].endswith(",")


def _rest(reading: Reading, i: int) -> range:
    """The places behind the one at ``i`` in its sentence, up to twelve."""
    return range(i + 1, min(i + 13, reading.sentence(i)[-1] + 1))


def _mocks(words: list[str], i: int) -> bool:
    return any(tuple(words[i + 1 : i + 1 + len(rest)]) == rest for rest in _MOCKERY[words[i]])


def _marked(reading: Reading, i: int) -> range:
    """The places of the sentence that the mark at ``i`` is about: the one before it, where it begins one."""
    sentence = reading.sentence(i)
    if i and sentence[0] == i and reading.words[i] in _COMMENTS:
        return reading.sentence(i - 1)
    return sentence
