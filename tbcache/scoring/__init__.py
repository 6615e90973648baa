"""Scoring: what items say of a symbol, as one figure from -1 (bearish) to 1 (bullish)."""

from tbcache.scoring.aggregate import LABEL_SCORE, SCORED_CHARACTERS, aggregate, score_items
from tbcache.scoring.classifier import OnnxScorer
from tbcache.scoring.confidence import THRESHOLD
from tbcache.scoring.finance import FinanceVader, get_scorer
from tbcache.scoring.scorer import ConfidentScorer, Rating, Scorer, TargetScorer, name_of
from tbcache.scoring.voices import VOICES, VoiceRule, voice_rules

__all__ = [
    "LABEL_SCORE",
    "SCORED_CHARACTERS",
    "THRESHOLD",
    "VOICES",
    "ConfidentScorer",
    "FinanceVader",
    "OnnxScorer",
    "Rating",
    "Scorer",
    "TargetScorer",
    "VoiceRule",
    "aggregate",
    "get_scorer",
    "name_of",
    "score_items",
    "voice_rules",
]
