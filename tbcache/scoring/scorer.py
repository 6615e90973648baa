"""What rates texts: any object with these names and methods, of ours or of yours."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable


class Rating(NamedTuple):
    """The score of a text, and the probability (0..1) that it is bullish, bearish or neutral as that says."""

    score: float
    confidence: float


class Scorer(Protocol):
    """Rates texts. ``name`` and ``version`` travel with each score."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def score(self, texts: list[str]) -> list[float]:
        """One figure a text, -1 (bearish) .. 1 (bullish), 0 where nothing is said."""
        ...


@runtime_checkable
class TargetScorer(Scorer, Protocol):
    """A scorer that tells the tickers of a text apart; of one that does not, ``score`` is called."""

    def score_for(self, texts: list[str], symbol: str) -> list[float]:
        """One figure a text, as by ``score``, of what it says of ``symbol``."""
        ...


@runtime_checkable
class ConfidentScorer(Scorer, Protocol):
    """A scorer that also says how sure it is."""

    def rate(self, texts: list[str], symbol: str | None = None) -> list[Rating]:
        """One rating a text; of what it says of ``symbol``, where one is given."""
        ...


def name_of(scorer: Scorer) -> str:
    """What a scorer is called where its scores are kept, e.g. ``finance-vader/6``."""
    return f"{scorer.name}/{scorer.version}"
