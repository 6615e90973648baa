"""From the scores of items to the sentiment of a symbol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from tbcache.models import FetchRequest, Item, SymbolSentiment
from tbcache.scoring.confidence import THRESHOLD
from tbcache.scoring.finance import clean
from tbcache.scoring.scorer import Scorer, TargetScorer
from tbcache.scoring.voices import VOICES, VoiceRule, hear

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
    """
    scores = [_stated(item) for item in items]
    texts = {i: _beginning(item.text) for i, item in enumerate(items) if scores[i] is None}
    texts = {i: text for i, text in texts.items() if clean(text)}
    rated = _rate(list(texts.values()), scorer, symbol) if texts else []
    for i, figure in zip(texts, rated, strict=True):
        scores[i] = _bounded(figure)
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
    scorer: Scorer,
    until: datetime | None = None,
    voices: Sequence[VoiceRule] = VOICES,
) -> SymbolSentiment:
    """The mean of ``scores`` by the items' weights, None where none weighs anything.

    ``voices`` are the rules of how much of each item counts. ``count`` is all the items; bullish, bearish and
    neutral are those that count and have a score.
    """
    heard = hear(items, voices, request.symbol)
    rated = [
        (item, share, score)
        for item, share, score in zip(items, heard.shares, scores, strict=True)
        if score is not None and share > 0
    ]
    bullish = sum(score >= THRESHOLD for _, _, score in rated)
    bearish = sum(score <= -THRESHOLD for _, _, score in rated)
    return SymbolSentiment(
        source=request.source,
        symbol=request.symbol,
        hours=request.hours,
        score=_mean([(score, share * _weight(item)) for item, share, score in rated]),
        count=len(items),
        bullish=bullish,
        bearish=bearish,
        neutral=len(rated) - bullish - bearish,
        as_of=as_of,
        complete=complete,
        since=since,
        scorer=f"{scorer.name}/{scorer.version}",
        reason=reason,
        until=until,
        voices=round(math.fsum(share for _, share, _ in rated), 3),
        dropped=heard.dropped,
    )


def _rate(texts: list[str], scorer: Scorer, symbol: str | None) -> list[float]:
    if symbol is not None and isinstance(scorer, TargetScorer):
        return scorer.score_for(texts, symbol)
    return scorer.score(texts)


def _beginning(text: str) -> str:
    """What of ``text`` is scored: no word of it is cut, but one that is longer than all that is."""
    if len(text) <= SCORED_CHARACTERS:
        return text
    # One more, which tells whether a word ends here.
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
    return max(-1.0, min(1.0, figure)) if math.isfinite(figure) else None


def _weight(item: Item) -> float:
    return item.weight if math.isfinite(item.weight) and item.weight > 0 else 0.0


def _mean(weighed: list[tuple[float, float]]) -> float | None:
    # Scaled by the heaviest: premiums near the largest float would sum to infinity.
    heaviest = max((weight for _, weight in weighed), default=0.0)
    if not heaviest:
        return None
    total = math.fsum(weight / heaviest for _, weight in weighed)
    mean = math.fsum(score * (weight / heaviest) for score, weight in weighed) / total
    return round(max(-1.0, min(1.0, mean)), 6)
