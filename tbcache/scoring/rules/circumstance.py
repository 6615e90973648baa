"""What a report says of the circumstances: "shares fall as optimism fades" is about the fall.

The clause that comes first is the news. What stands behind its "as", "after" or "despite" is why, when or
in spite of what, and often of the other side.
"""

from __future__ import annotations

from tbcache.scoring.rules.reading import Reading

#: How much of what is rated there counts.
_SHARE = 0.25
_LINKS = frozenset(
    "as after amid amidst despite on following though although even while when by due because".split()
)
#: "Hurt by higher costs": behind these "by" names the cause.
_CAUSED = frozenset(
    "hurt hit burdened affected pressured boosted helped driven supported lifted fuelled fueled hampered "
    "dented offset caused weighed impacted dragged explained".split()
)
#: Where there is no news before these, what stands behind them is none.
_AROUND = frozenset(("amid", "amidst", "despite"))
TRIGGERS = (_LINKS - {"by"}) | _CAUSED
#: "As a result", "as well as", "on a debt-free basis", "even better" tell of no circumstance.
_OTHERWISE = frozenset(
    "a an the well much many of its their his expected planned part track time schedule to if better "
    "more".split()
)
_NO_AS = frozenset(("such", "well", "same", "much", "long", "far", "soon", "not"))


def read_circumstances(reading: Reading, valences: list[float]) -> list[float]:
    """Lessen what stands behind the first link of a sentence, where something rated stands before it."""
    if not any(valences):
        return valences
    valences = list(valences)
    done = 0
    for i, word in enumerate(reading.words):
        if i < done or word not in _LINKS or not _is_link(reading, i):
            continue
        sentence = reading.sentence(i)
        done = sentence.stop
        is_news = any(valences[sentence.start : i])
        if is_news or (word in _AROUND and i > sentence.start):
            for j in range(i + 1, done):
                valences[j] *= _SHARE if is_news else 0.0
    return valences


def _is_link(reading: Reading, i: int) -> bool:
    words = reading.words
    if i + 1 == len(words) or not i or words[i - 1] in _NO_AS:
        return False
    if words[i] == "by":
        return words[i - 1] in _CAUSED
    if words[i] == "due":
        return words[i + 1] == "to"
    return words[i + 1] not in _OTHERWISE and not words[i + 1][:1].isdigit()
