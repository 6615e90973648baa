"""The data that is passed forward: request, page, sentiment, outcome.

FetchRequest -> HttpRequest -> RawResponse -> Page -> SymbolSentiment -> Outcome
"""

from tbcache.models.answer import (
    Bucket,
    Engagement,
    Failure,
    Item,
    Kind,
    Label,
    Origin,
    Outcome,
    Page,
    Premium,
    RateHint,
    Right,
    SymbolSentiment,
    TopItem,
    Volume,
)
from tbcache.models.combined import CombinedSentiment, Part
from tbcache.models.history import History, Point
from tbcache.models.limit import Charge, Limit, RateLimitStatus, is_whole, wait_seconds
from tbcache.models.price import Price
from tbcache.models.request import (
    PATIENCE_SECONDS,
    FetchRequest,
    HttpRequest,
    Keyed,
    Lane,
    RawResponse,
    ticker,
)

__all__ = [
    "PATIENCE_SECONDS",
    "Bucket",
    "Charge",
    "CombinedSentiment",
    "Engagement",
    "Failure",
    "FetchRequest",
    "History",
    "HttpRequest",
    "Item",
    "Keyed",
    "Kind",
    "Label",
    "Lane",
    "Limit",
    "Origin",
    "Outcome",
    "Page",
    "Part",
    "Point",
    "Premium",
    "Price",
    "RateHint",
    "RateLimitStatus",
    "RawResponse",
    "Right",
    "SymbolSentiment",
    "TopItem",
    "Volume",
    "is_whole",
    "ticker",
    "wait_seconds",
]
