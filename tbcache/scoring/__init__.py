"""Scoring: what items say of a symbol, as one figure from -1 (bearish) to 1 (bullish)."""

from tbcache.scoring.aggregate import LABEL_SCORE, SCORED_CHARACTERS, THRESHOLD, aggregate, score_items
from tbcache.scoring.finance import FinanceVader, Scorer, TargetScorer, get_scorer

__all__ = [
    "LABEL_SCORE",
    "SCORED_CHARACTERS",
    "THRESHOLD",
    "FinanceVader",
    "Scorer",
    "TargetScorer",
    "aggregate",
    "get_scorer",
    "score_items",
]
