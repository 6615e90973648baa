"""The sentiment of one symbol from several sources."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tbcache.models.answer import SymbolSentiment


@dataclass(frozen=True, slots=True)
class Part:
    """What one source says: its answer, and its ``share`` (0..1) in the score.

    ``missing`` is why it has no answer, or none with a score; None where it has. ``error`` is why the answer
    is an older one, which could not be refreshed.
    """

    source: str
    share: float
    sentiment: SymbolSentiment | None
    missing: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CombinedSentiment:
    """The sentiment of one symbol over ``hours``, from all sources that know of it, each by its confidence.

    ``score`` is -1 (bearish) .. 1 (bullish), None where no source has one; ``standard_error`` and
    ``confidence`` (0..1) say how far it may be trusted: where sources disagree, less. ``parts`` has every
    source, those without an answer too.
    """

    symbol: str
    hours: int
    score: float | None
    standard_error: float | None
    confidence: float
    parts: tuple[Part, ...]

    @property
    def as_of(self) -> datetime | None:
        """When the oldest of the answers that count was read; None where none counts."""
        counted = (part.sentiment for part in self.parts if part.share)
        return min((sentiment.as_of for sentiment in counted if sentiment), default=None)

    def as_dict(self) -> dict[str, Any]:
        """Its fields by name, and those of its parts."""
        parts = [
            {
                "source": part.source,
                "share": part.share,
                "sentiment": part.sentiment and part.sentiment.as_dict(),
                "missing": part.missing,
                "error": part.error,
            }
            for part in self.parts
        ]
        figures = {"score": self.score, "standard_error": self.standard_error, "confidence": self.confidence}
        return {"symbol": self.symbol, "hours": self.hours, **figures, "as_of": self.as_of, "parts": parts}
