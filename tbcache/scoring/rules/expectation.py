"""What is compared with what was expected: a loss that is smaller than feared is good news."""

from __future__ import annotations

from tbcache.scoring.rules.burden import BURDENS
from tbcache.scoring.rules.reading import UNDERSTOOD, Reading, is_negation

_BENCHMARKS = frozenset(
    "expected feared forecast forecasts estimate estimates estimated anticipated thought hoped consensus "
    "predicted projected expectations guided".split()
)
_GOOD = frozenset("better stronger healthier brighter".split())
_BAD = frozenset("worse weaker poorer".split())
_LESS = frozenset(
    "smaller narrower lower fewer less milder slower cooler shallower softer lighter shorter".split()
)
_MORE = frozenset(
    "bigger wider larger higher more steeper deeper hotter faster greater heavier longer".split()
)
_COMPARATIVES = _GOOD | _BAD | _LESS | _MORE
#: Falls are burdens here: "a decline that is smaller than feared".
_FALLS = frozenset("decline declines drop drops fall slump slowdown cut cuts".split())
_QUALITIES = {
    **dict.fromkeys("bad terrible awful ugly scary dire weak bearish horrible poor steep severe".split(), -1),
    **dict.fromkeys("good great strong bullish impressive rosy robust cheap".split(), 1),
}
_JOINED = frozenset(
    f"{comparative}-than-{benchmark}" for comparative in _COMPARATIVES for benchmark in _BENCHMARKS
)
TRIGGERS = frozenset(("than", "as")) | _JOINED
#: Without one of these nothing is compared.
_COMPARED = _JOINED | _BENCHMARKS | _QUALITIES.keys()


def read_expectations(reading: Reading, valences: list[float]) -> list[float]:
    """Rate a clause by how the news compares with what was expected, and not by the news itself."""
    words = reading.words
    if _COMPARED.isdisjoint(words):
        return valences
    valences = list(valences)
    for i, word in enumerate(words):
        if word in TRIGGERS and (surprise := _surprise(reading, i)):
            _rate(reading, i, UNDERSTOOD * surprise, valences)
    return valences


def _rate(reading: Reading, i: int, figure: float, valences: list[float]) -> None:
    """The comparison stands for its clause, save for what agrees with it."""
    for j in (*reading.before(i, 8), *reading.after(i, 8)):
        if valences[j] * figure < 0 or reading.words[j] in _COMPARATIVES or reading.words[j] in _BENCHMARKS:
            valences[j] = 0.0
    valences[i] = figure


def _surprise(reading: Reading, i: int) -> int:
    """1 where what is said at ``i`` is better than expected, -1 where it is worse, 0 where neither."""
    words = reading.words
    if words[i] == "as":
        return _not_as(reading, i)
    if words[i] == "than":
        bench = reading.find(reading.after(i, 4), _BENCHMARKS)
        if bench is None or not i:
            return 0
        comparative = reading.find(reading.before(i, 3), _COMPARATIVES)
        quality = _QUALITIES.get(words[i - 1], 0)
        if quality and words[i - 2 : i - 1] == ["less"]:
            return -quality
        return 0 if comparative is None else _compare(reading, i, words[comparative], words[bench])
    comparative_word, _, bench_word = words[i].partition("-than-")
    return _compare(reading, i, comparative_word, bench_word)


def _compare(reading: Reading, i: int, comparative: str, benchmark: str) -> int:
    if comparative in _GOOD or comparative in _BAD:
        return 1 if comparative in _GOOD else -1
    near = (*reading.before(i, 8), *reading.after(i, 4))
    is_burden = benchmark == "feared" or any(_is_burden(reading.words[j]) for j in near)
    return 1 if is_burden == (comparative in _LESS) else -1


def _is_burden(word: str) -> bool:
    return word in BURDENS or word in _FALLS or ("loss" in word and " " in word)


def _not_as(reading: Reading, i: int) -> int:
    """ "Not as bad as feared" is good news, and "not as good as hoped" is bad news."""
    words = reading.words
    quality = _QUALITIES.get(words[i + 1], 0) if i + 1 < len(words) else 0
    negated = any(is_negation(words[j]) for j in reading.before(i, 2))
    return -quality if quality and negated and words[i + 2 : i + 3] in (["as"], []) else 0
