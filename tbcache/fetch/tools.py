"""What a source stands on in this process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tbcache.admission.rate_limiter import RateLimiter, get_rate_limiter
from tbcache.cache import CacheManager, get_cache_manager
from tbcache.fetch.outbox import get_repository
from tbcache.fetch.pipeline import Pipeline, get_pipeline
from tbcache.monitoring import UsageMonitor, get_usage_monitor
from tbcache.scoring import Scorer, VoiceRule, get_scorer, name_of, voice_rules
from tbcache.scoring.voices import name_of_rules
from tbcache.settings import Source, get_settings

if TYPE_CHECKING:
    from tbcache.repository import SentimentRepository


class Tools:
    """Each tool is made when it is first used, and may be replaced: ``provider.analyzer = MyScorer()``."""

    source: Source

    @cached_property
    def pipeline(self) -> Pipeline:
        return get_pipeline()

    @cached_property
    def analyzer(self) -> Scorer:
        return self._scorer_of_settings

    @cached_property
    def voices(self) -> Sequence[VoiceRule]:
        """The rules of how much of each item counts."""
        return self._rules_of_settings

    @property
    def rules(self) -> str:
        """The name of :attr:`voices`, and of an :attr:`analyzer` that was set; "" for those of the settings,
        which all processes have."""
        voices = self.voices
        if self.has_private_scorer:
            return name_of_rules(voices, name_of(self.analyzer))
        return "" if voices is self._rules_of_settings else name_of_rules(voices)

    @property
    def has_private_scorer(self) -> bool:
        """Whether an :attr:`analyzer` was set that is not the one of the settings."""
        # One that is not made yet is that of the settings, and takes a second to make.
        scorer = self.__dict__.get("analyzer")
        return scorer is not None and name_of(scorer) != name_of(self._scorer_of_settings)

    @cached_property
    def _scorer_of_settings(self) -> Scorer:
        return get_scorer(get_settings().classifier)

    @cached_property
    def _rules_of_settings(self) -> tuple[VoiceRule, ...]:
        settings = get_settings()
        return voice_rules(
            times=settings.author_times,
            languages=settings.languages,
            engagement=settings.weigh_engagement,
            names=settings.names,
        )

    @cached_property
    def cache(self) -> CacheManager:
        return get_cache_manager()

    @cached_property
    def rate_limiter(self) -> RateLimiter:
        return get_rate_limiter(self.source.name)

    @cached_property
    def usage_monitor(self) -> UsageMonitor:
        return get_usage_monitor()

    @cached_property
    def repository(self) -> SentimentRepository:
        return get_repository()
