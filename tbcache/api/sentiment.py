"""Answers: the sentiment of a symbol, now and at any moment of the past."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from tbcache.api.address import client_of
from tbcache.api.asked import while_asked
from tbcache.api.context import Ctx
from tbcache.api.etag import tag_of
from tbcache.api.paging import Pages
from tbcache.api.parameter import Moment, Source, Symbol, SymbolPath
from tbcache.api.security import SCHEMES, ReadRoute, WriteRoute
from tbcache.io import utc_now
from tbcache.io.loop import drive
from tbcache.models import Origin, SymbolSentiment
from tbcache.models.history import past

if TYPE_CHECKING:
    from tbcache.providers import Provider

#: As many moments are answered at once: each may take 0.1 s of a busy symbol, and nobody can stop it.
MOST_POINTS = 1_000

# To ask may cost a request upstream, and money: whoever may not change anything may not ask either.
router = APIRouter(prefix="/api", tags=["sentiment"], route_class=WriteRoute, dependencies=SCHEMES)
# What is in the database costs no money, but time.
past_router = APIRouter(prefix="/api", tags=["sentiment"], route_class=ReadRoute, dependencies=SCHEMES)


class Bucket(BaseModel):
    items: int
    score: float | None


class TopItem(BaseModel):
    id: str
    at: datetime | None
    score: float
    share: float
    url: str | None


class Volume(BaseModel):
    day_before: float | None
    change: float | None
    baseline: float | None
    baseline_change: float | None


class Premium(BaseModel):
    call: float
    put: float
    multi_leg: float


class Sentiment(BaseModel):
    """An answer; what each figure is stands in the documentation of the scoring."""

    source: str
    symbol: str
    hours: int
    covered_hours: float = Field(description="Of how many of the hours the score is true.")
    score: float | None = Field(description="-1 (bearish) .. 1 (bullish); null where nothing has a score.")
    standard_error: float | None
    confidence: float | None = Field(description="0..1: how far the score may be trusted.")
    as_of: datetime
    complete: bool
    since: datetime | None
    until: datetime | None
    reason: str | None
    scorer: str
    count: int
    bullish: int
    bearish: int
    neutral: int
    voices: float | None
    dropped: dict[str, float]
    authors: int | None
    labelled: float | None
    opinion: float | None
    volume: Volume
    volume_by_upstream: bool = Field(description="Whether the upstream has counted some of what was before.")
    buckets: list[Bucket]
    top: list[TopItem]
    premium: Premium | None


class Failure(BaseModel):
    """Why a fetch came to nothing."""

    model_config = ConfigDict(from_attributes=True)

    kind: str
    message: str
    status: int = Field(description="What the upstream answered; 0 where that is not the reason.")
    retry_at: datetime | None


class Answer(BaseModel):
    origin: Origin | None = Field(description="Where it comes from; null of an answer of the past.")
    age: float | None = Field(description="In seconds, at the moment that was asked for.")
    sentiment: Sentiment | None = Field(description="null where nothing was known, or too little.")
    reason: str | None = Field(None, description="Why it is null, where more is known than was asked for.")
    error: Failure | None = Field(
        None, description="Why the last refresh failed, where an old answer stands in."
    )


class Row(BaseModel):
    """A moment of the past; all is null where nothing was known then."""

    at: datetime
    as_of: datetime | None
    score: float | None
    standard_error: float | None
    confidence: float | None
    covered_hours: float | None
    complete: bool | None
    count: int | None
    voices: float | None
    authors: int | None
    bullish: int | None
    bearish: int | None
    neutral: int | None
    opinion: float | None
    labelled: float | None
    scorer: str | None
    change: float | None
    baseline_change: float | None


class History(BaseModel):
    source: str
    symbol: str
    hours: int
    reason: str | None = Field(None, description="Why nothing was known at any of the moments.")
    points: list[Row]


class SentimentQuery(BaseModel):
    """What may stand behind the ``?``."""

    hours: int = Field(24, ge=1)
    min_coverage: float = Field(0.0, ge=0, le=1, description="Less than this share of the hours is null.")
    patience: float = Field(10.0, ge=0, le=30, description="Wait at most this many seconds for a slot.")
    as_of: Moment | None = Field(None, description="A moment of the past, with its zone.")


class HistoryQuery(BaseModel):
    """What may stand behind the ``?``."""

    source: str = Field(max_length=64)
    symbol: Symbol
    start: Moment = Field(description="With its zone.")
    end: Moment = Field(description="With its zone.")
    every: float = Field(3600.0, ge=1, le=366 * 86400, description="Seconds between two moments.")
    hours: int = Field(24, ge=1)
    hindsight: bool = Field(False, description="Count what was read later as well, as by a backfill.")
    most: int = Field(MOST_POINTS, ge=1, le=MOST_POINTS, description="So many moments a page.")


@router.get("/sentiment/{source}/{symbol}", responses={502: {}, 503: {}})
async def sentiment(
    context: Ctx,
    request: Request,
    response: Response,
    source: Source,
    symbol: SymbolPath,
    asked: Annotated[SentimentQuery, Query()],
) -> Answer:
    """The sentiment of a symbol, from the cache or the upstream; of the past, from the database.

    Needs the token where `TBCACHE_API_TOKEN` is set, and is for the API's own machine otherwise. Where no
    slot of the source's limits is free within `patience` seconds it is 429, and `Retry-After` says when one
    will be.
    """
    provider = await to_thread.run_sync(_provider, source)
    if (as_of := asked.as_of) is not None:
        return await context.past.run(client_of(request.scope), lambda: _then(provider, symbol, asked, as_of))
    wanted = provider.source.request(symbol, asked.hours)
    outcome = await while_asked(
        request, context.waiting, lambda: drive(provider.answer(wanted, patience=asked.patience))
    )
    found = provider.covering(outcome.sentiment, asked.min_coverage)
    reason = None if found is not None else _too_little(provider, outcome.sentiment, asked)
    # An answer is the same while only its age changes.
    error = None if outcome.error is None else Failure.model_validate(outcome.error)
    response.headers["ETag"] = tag_of(f"{outcome.origin} {reason} {error} {found!r}".encode())
    return Answer(
        origin=outcome.origin, age=outcome.age, sentiment=_payload(found), reason=reason, error=error
    )


def _then(provider: Provider, symbol: str, asked: SentimentQuery, as_of: datetime) -> Answer:
    known = provider.get_sentiment(symbol, asked.hours, as_of=as_of)
    if known is None:
        return Answer(origin=None, age=None, sentiment=None, reason=None, error=None)
    found = provider.covering(known, asked.min_coverage, as_of)
    reason = None if found is not None else _too_little(provider, known, asked)
    age = max(0.0, (as_of - known.as_of).total_seconds())
    return Answer(origin=None, age=age, sentiment=_payload(found), reason=reason, error=None)


def _provider(source: str) -> Provider:
    # It loads what scores items, and takes long: no route but those of answers needs it.
    from tbcache.providers import get_provider

    return get_provider(source)


@past_router.get("/history")
async def history(
    context: Ctx, request: Request, pages: Pages, asked: Annotated[HistoryQuery, Query()]
) -> History:
    """What would have been answered at moments of the past, of what was known then; a page of them.

    Needs a token where one is set, and is for the API's own machine otherwise.
    """
    step, last = timedelta(seconds=asked.every), past("end", asked.end, utc_now())
    has_more = (last - asked.start) // step >= asked.most
    if has_more:
        last = asked.start + step * (asked.most - 1)
    found = await context.past.run(client_of(request.scope), lambda: _history(asked, last))
    if has_more:
        pages.go_on(start=(last + step).isoformat())
    return found


def _history(asked: HistoryQuery, last: datetime) -> History:
    found = _provider(asked.source).history(
        asked.symbol, asked.start, last, asked.every, asked.hours, hindsight=asked.hindsight
    )
    return History(
        source=found.source,
        symbol=found.symbol,
        hours=found.hours,
        reason=found.reason,
        points=[Row(**row) for row in found.rows()],
    )


def _too_little(provider: Provider, found: SymbolSentiment, asked: SentimentQuery) -> str:
    hours = round(provider.known_hours(found, asked.as_of), 3)
    return f"it covers {hours:g} of {found.hours} hours, which is less than {asked.min_coverage:g} of them"


def _payload(found: Any) -> Any:
    return None if found is None else Sentiment(**found.as_dict())
