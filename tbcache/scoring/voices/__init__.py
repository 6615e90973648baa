"""Voices: which items of an answer count, and how much. A copy is no second voice, a robot is none."""

from collections.abc import Mapping

from tbcache.scoring.voices.common import (
    at_most,
    by_engagement,
    by_tickers,
    in_languages,
    without_gone,
    without_legs,
    without_notices,
    without_reposts,
)
from tbcache.scoring.voices.relevance import about_symbol
from tbcache.scoring.voices.repetition import without_copies
from tbcache.scoring.voices.rule import Voice, VoiceRule, Weighed, name_of_rules, weigh

#: An author counts as so many items of one answer, where nothing else is said.
TIMES = 3


def voice_rules(
    *,
    times: int = TIMES,
    languages: tuple[str, ...] = ("en",),
    engagement: bool = False,
    names: Mapping[str, str] | None = None,
) -> tuple[VoiceRule, ...]:
    """The rules in their order: an author counts as ``times`` items at most, texts in other ``languages`` do
    not count, and with ``engagement`` what others liked counts more. ``names`` are what symbols are called
    beside what the table that is shipped says: ``{"AAPL": "Apple|iPhone"}``.
    """
    rules = (
        VoiceRule("gone", without_gone),
        VoiceRule("notice", without_notices),
        VoiceRule("multi_leg", without_legs),
        VoiceRule("relevance", about_symbol(names)),
        VoiceRule("language", in_languages(languages)),
        VoiceRule("repost", without_reposts),
        VoiceRule("copy", without_copies, looks_back=True),
        VoiceRule("tickers", by_tickers),
        VoiceRule("author", at_most(times)),
    )
    return (*rules, VoiceRule("engagement", by_engagement)) if engagement else rules


#: The rules that hold where nothing else is said.
VOICES = voice_rules()

__all__ = [
    "VOICES",
    "Voice",
    "VoiceRule",
    "Weighed",
    "about_symbol",
    "at_most",
    "by_engagement",
    "by_tickers",
    "in_languages",
    "name_of_rules",
    "voice_rules",
    "weigh",
    "without_copies",
    "without_gone",
    "without_legs",
    "without_notices",
    "without_reposts",
]
