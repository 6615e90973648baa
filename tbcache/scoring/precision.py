"""How far the score of an answer may be trusted: its standard error, and one figure of confidence.

A score is a weighted mean ``m = sum(w x) / sum(w)`` of the scores ``x`` of items. They are taken for a sample
of what people think, and the weights for how much each of them says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: How far the true scores of symbols and hours differ, as a standard deviation: what a score tells apart.
SIGNAL = 0.2
#: What is assumed of the spread of the items before any is seen, as a standard deviation, and how many items
#: that assumption is worth: two items that agree are no proof that all do.
ASSUMED_SPREAD = 0.5
ASSUMED_ITEMS = 4.0


class Estimate(NamedTuple):
    """A weighted mean, the ``variance`` of the values about it, and the effective number of them."""

    mean: float
    variance: float
    size: float

    @property
    def standard_error(self) -> float | None:
        """``sqrt(variance / (size - 1))``; None where the items are worth no more than one.

        The variance of a weighted mean of independent values is ``s^2 sum(w^2) / sum(w)^2``, which is
        ``s^2 / size``; the unbiased ``s^2`` for weights that say how reliable a value is, is
        ``variance / (1 - 1 / size)`` (Kish, Survey Sampling, 1965, section 11.7; Cochran, Sampling
        Techniques, 1977).
        """
        if self.size <= 1 + 1e-9:
            return None
        return math.sqrt(self.variance / (self.size - 1))

    @property
    def reliability(self) -> float:
        """The part (0..1) of what is seen of the mean that is signal: ``T / (T + e)``.

        ``T`` is the variance of true scores, ``e`` that of this mean as an estimate: Spearman's reliability,
        and the credibility factor ``n / (n + k)`` of Buehlmann (ASTIN Bulletin 4, 1967). ``e`` takes the
        spread of the items together with what was assumed of it before, as a posterior mean does.
        """
        assumed = ASSUMED_ITEMS * ASSUMED_SPREAD**2
        spread = (assumed + self.size * self.variance) / (ASSUMED_ITEMS + self.size)
        return SIGNAL**2 / (SIGNAL**2 + spread / self.size)


def estimate(weighed: Sequence[tuple[float, float]]) -> Estimate | None:
    """The estimate of pairs of a value and its weight; None where none weighs anything.

    Its size is ``sum(w)^2 / sum(w^2)``, how many items of the same weight would say as much (Kish).
    """
    # Scaled by the heaviest: premiums near the largest float would sum to infinity.
    heaviest = max((weight for _, weight in weighed), default=0.0)
    if not heaviest:
        return None
    scaled = [(value, weight / heaviest) for value, weight in weighed]
    total = math.fsum(weight for _, weight in scaled)
    mean = math.fsum(value * weight for value, weight in scaled) / total
    variance = math.fsum(weight * (value - mean) ** 2 for value, weight in scaled) / total
    size = total**2 / math.fsum(weight**2 for _, weight in scaled)
    return Estimate(max(-1.0, min(1.0, mean)), variance, size)


def confidence(found: Estimate | None, coverage: float) -> float:
    """The confidence (0..1) of an answer: its reliability, of that share (0..1) of the hours that is known.

    Of the hours that are not known nothing is known: the answer is right by chance there. 0 where nothing
    has a score.
    """
    return 0.0 if found is None else found.reliability * coverage
