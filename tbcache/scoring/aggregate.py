"""Makes the sentiment of a symbol of the scores of items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tbcache.models import FetchRequest, Item, SymbolSentiment, Volume
from tbcache.models.answer import NO_VOLUME
from tbcache.models.error import ConfigurationError
from tbcache.scoring import detail
from tbcache.scoring.broken import broken
from tbcache.scoring.confidence import THRESHOLD
from tbcache.scoring.detail import Rated
from tbcache.scoring.finance import clean
from tbcache.scoring.precision import confidence, estimate
from tbcache.scoring.scorer import Scorer, TargetScorer, name_of
from tbcache.scoring.voices import VOICES, VoiceRule, weigh

#: What an author's own label counts: clearly more than the texts that say the same in words
#: (their mean is near 0.5), and less than 1, which belongs to a figure that says so.
LABEL_SCORE = 0.8
#: How many characters of one text are scored, at most: the first ones, to the end of a word. It is a long
#: article; what comes behind hardly moves a score, and the time that some scorers take, plain VADER among
#: them, grows with the square of the length.
SCORED_CHARACTERS = 5_000


def score_items(items: Sequence[Item], scorer: Scorer, symbol: str | None = None) -> list[float | None]:
    """One score an item, -1..1: its own, or its author's label, or its text.

    None where it has none of them; texts are rated in one call, each by its first
    :data:`SCORED_CHARACTERS`, and for ``symbol`` where the scorer can (:class:`TargetScorer`).

    Raises:
      ConfigurationError: the scorer raised something, or did not give one figure a text; it is named.
    """
    scores = [_stated(item) for item in items]
    texts = {i: _beginning(item.text) for i, item in enumerate(items) if scores[i] is None}
    texts = {i: text for i, text in texts.items() if clean(text)}
    rated = _rate(list(texts.values()), scorer, symbol) if texts else []
    for i, figure in zip(texts, rated, strict=True):
        scores[i] = figure
    return scores


def aggregate(
    request: FetchRequest,
    items: Sequence[Item],
    scores: Sequence[float | None],
    *,
    as_of: datetime,
    complete: bool,
    since: datetime | None,
    reason: str | None,
    scorer: str,
    until: datetime | None = None,
    voices: Sequence[VoiceRule] = VOICES,
    volume: Volume = NO_VOLUME,
    volume_by_upstream: bool = False,
    earlier: Sequence[Item] = (),
) -> SymbolSentiment:
    """The answer that ``items`` with their ``scores`` give: their mean by weight, and what it is made of.

    A pure function: nothing but its arguments counts, so that the same items give the same answer whenever
    they are asked. ``scorer`` is the name of who gave the scores, ``voices`` are the rules of how much of
    each item counts; some compare the items with ``earlier`` ones. ``count`` is all the items; everything
    else is of those that count and have a score.
    """
    weighed = weigh(items, voices, request.symbol, earlier)
    rated = [
        Rated(item, score, share, share * _weight(item))
        for item, share, score in zip(items, weighed.shares, scores, strict=True)
        if score is not None and share > 0
    ]
    found = estimate([(each.score, each.weight) for each in rated])
    bullish = sum(each.score >= THRESHOLD for each in rated)
    bearish = sum(each.score <= -THRESHOLD for each in rated)
    sentiment = SymbolSentiment(
        source=request.source,
        symbol=request.symbol,
        hours=request.hours,
        score=detail.mean(rated),
        count=len(items),
        bullish=bullish,
        bearish=bearish,
        neutral=len(rated) - bullish - bearish,
        as_of=as_of,
        complete=complete,
        since=since,
        scorer=scorer,
        reason=reason,
        until=until,
        voices=round(math.fsum(each.share for each in rated), 3),
        dropped=weighed.dropped,
        authors=detail.authors(rated),
        labelled=detail.labelled(rated),
        opinion=detail.opinion(rated),
        standard_error=_rounded(found and found.standard_error),
        volume=volume,
        volume_by_upstream=volume_by_upstream,
        buckets=detail.buckets(items, rated, as_of, request.hours),
        top=detail.top(rated),
        premium=detail.premium(items),
    )
    return replace(sentiment, confidence=_rounded(confidence(found, sentiment.coverage)))


def _rate(texts: list[str], scorer: Scorer, symbol: str | None) -> list[float | None]:
    try:
        if symbol is not None and isinstance(scorer, TargetScorer):
            figures = scorer.score_for(texts, symbol)
        else:
            figures = scorer.score(texts)
        # It may be an array of any library.
        figures = list(figures)
    except ConfigurationError:
        raise
    except Exception as error:
        raise broken(f"the scorer {name_of(scorer)}", error) from error
    try:
        return [_bounded(figure) for _, figure in zip(texts, figures, strict=True)]
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the scorer {name_of(scorer)} must give {len(texts)} figures, one a text; it gave "
            f"{len(figures)}: {figures[:5]}"
        ) from error


def _beginning(text: str) -> str:
    """What of ``text`` is scored: no word of it is cut, but one that is longer than all that is."""
    if len(text) <= SCORED_CHARACTERS:
        return text
    # One character more tells whether a word ends here.
    beginning = text[: SCORED_CHARACTERS + 1]
    whole, *cut = [beginning] if beginning[-1].isspace() else beginning.rsplit(None, 1)
    return whole[:SCORED_CHARACTERS] if not cut else whole


def _stated(item: Item) -> float | None:
    """What the item says of itself, in figures or by its author's label."""
    if item.score is not None and math.isfinite(item.score):
        return _bounded(item.score)
    if item.label is None:
        return None
    return LABEL_SCORE if item.label == "bullish" else -LABEL_SCORE


def _bounded(figure: float) -> float | None:
    return float(max(-1.0, min(1.0, figure))) if math.isfinite(figure) else None


def _weight(item: Item) -> float:
    return item.weight if math.isfinite(item.weight) and item.weight > 0 else 0.0


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 4)
