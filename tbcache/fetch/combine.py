"""Combines the answers of several sources into one, each by its confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from tbcache.models.answer import SymbolSentiment
from tbcache.models.combined import CombinedSentiment, Part
from tbcache.scoring.precision import SIGNAL, estimate


class _Counted(NamedTuple):
    """An answer with a score and some confidence in it."""

    source: str
    score: float
    confidence: float
    coverage: float
    error: float | None

    @property
    def doubt(self) -> float:
        """The variance of the score that its confidence stands for: what that was made of, backwards."""
        return SIGNAL**2 * (self.coverage / self.confidence - 1)

    @property
    def variance(self) -> float:
        return self.doubt if self.error is None else self.error**2


def combine(
    symbol: str,
    hours: int,
    found: Mapping[str, SymbolSentiment | str],
    errors: Mapping[str, str] = MappingProxyType({}),
) -> CombinedSentiment:
    """One answer of what each source has ``found``: its answer, or why it has none. ``errors`` are why the
    answers of some sources are older ones.

    The score is the mean of the scores by their confidences c. The variance of a weighted mean is
    ``sum(c^2 e) / sum(c)^2`` with the variances e of its parts; where the sources are further from each other
    than these explain, the variance of the mean between sources counts in its place (the random-effects view
    of DerSimonian and Laird, 1986). The confidence is made of that variance as the one of an answer is, times
    the coverage by the same weights: of one source alone it is that of the source.
    """
    counted = [each for source, answer in found.items() if (each := _counted(source, answer)) is not None]
    mean = estimate([(each.score, each.confidence) for each in counted])
    parts = tuple(_part(source, answer, counted, errors.get(source)) for source, answer in found.items())
    if mean is None:
        return CombinedSentiment(symbol, hours, None, None, 0.0, parts)
    between = (mean.standard_error or 0.0) ** 2
    doubt = max(between, _within(counted, [each.doubt for each in counted]))
    error = math.sqrt(max(between, _within(counted, [each.variance for each in counted])))
    confidence = _coverage(counted) * SIGNAL**2 / (SIGNAL**2 + doubt)
    return CombinedSentiment(symbol, hours, round(mean.mean, 6), round(error, 4), round(confidence, 4), parts)


def _counted(source: str, answer: SymbolSentiment | str) -> _Counted | None:
    if isinstance(answer, str) or answer.score is None or not answer.confidence or not answer.coverage:
        return None
    return _Counted(source, answer.score, answer.confidence, answer.coverage, answer.standard_error)


def _within(counted: Sequence[_Counted], variances: Sequence[float]) -> float:
    total = math.fsum(each.confidence for each in counted)
    summed = math.fsum(each.confidence**2 * e for each, e in zip(counted, variances, strict=True))
    return summed / total**2


def _coverage(counted: Sequence[_Counted]) -> float:
    total = math.fsum(each.confidence for each in counted)
    return math.fsum(each.confidence * each.coverage for each in counted) / total


def _part(source: str, answer: SymbolSentiment | str, counted: Sequence[_Counted], error: str | None) -> Part:
    if isinstance(answer, str):
        return Part(source, 0.0, None, answer)
    total = math.fsum(each.confidence for each in counted)
    share = next((each.confidence / total for each in counted if each.source == source), 0.0)
    return Part(source, round(share, 4), answer, None if share else _why_none(answer), error)


def _why_none(answer: SymbolSentiment) -> str | None:
    """Why ``answer``, which has no share, says nothing."""
    hours = f"{answer.hours} hours"
    if answer.reason == "plan_delay" and not answer.count:
        return f"the {hours} lie within the delay of its plan"
    if answer.reason == "plan_unknown" and not answer.count:
        return "whether its plan's items come late is being found out"
    if not answer.count:
        return f"no items in {hours}" if answer.coverage else f"nothing of the {hours} is known"
    return "none of its items counts and has a score" if answer.score is None else None
