"""How likely it is that the label of a text (bullish, bearish or neutral) is right.

A logistic function of what the scorer saw, one for texts that have an opinion and one for those that are
neutral. Its numbers are fitted by ``python -m bench.calibrate`` on texts that nobody had looked at while
words and rules were written, ours and strangers', and stand here so that nothing is fitted where texts are
scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: Where bullish and bearish begin: VADER's own, and what the published comparisons use.
THRESHOLD = 0.05


class Evidence(NamedTuple):
    """What a score was made of: ``compound`` (-1..1), how many ``words`` the text has and how many of them
    are ``rated``, how far those agree (0: as much for as against; 1: all of one side), whether ``rules``
    have changed what the words alone say, and whether it is a ``report``.
    """

    compound: float
    words: int
    rated: int
    agreement: float
    rules: bool
    report: bool

    @classmethod
    def of(cls, compound: float, valences: Sequence[float], rules: bool, report: bool) -> Evidence:
        size = math.fsum(map(abs, valences))
        agreement = abs(math.fsum(valences)) / size if size else 1.0
        return cls(compound, len(valences), sum(map(bool, valences)), agreement, rules, report)


#: The constant, then one weight for each of :func:`features`.
OPINION = (-0.230, 1.331, 0.737, 0.544, 0.043)
NEUTRAL = (0.646, -1.682, 0.507)


def features(evidence: Evidence) -> tuple[float, ...]:
    """What the confidence is a function of: few figures, as more fit the sentences and not the truth."""
    if is_opinion(evidence):
        return abs(evidence.compound), evidence.agreement, float(evidence.rules), float(evidence.report)
    return float(evidence.rated > 0), float(evidence.report)


def confidence(evidence: Evidence) -> float:
    """The probability, 0..1, that the text's label is right."""
    constant, *weights = OPINION if is_opinion(evidence) else NEUTRAL
    total = constant + sum(w * x for w, x in zip(weights, features(evidence), strict=True))
    return round(1 / (1 + math.exp(-total)), 4)


def is_opinion(evidence: Evidence) -> bool:
    return abs(evidence.compound) >= THRESHOLD
