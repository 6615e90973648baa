"""What the caches have of symbols: nothing is fetched for it, and it costs nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from tbcache import fleet
from tbcache.api.context import Ctx
from tbcache.api.model.schema import Schema
from tbcache.api.paging import Pages
from tbcache.api.parameter import Most, SymbolPath
from tbcache.api.query import QueryRoute
from tbcache.api.sentiment import Sentiment

router = APIRouter(prefix="/api/symbols", tags=["symbols"], route_class=QueryRoute)


class Held(Schema):
    """What a source's cache has of a symbol."""

    source: str
    hours: int
    fresh_until: datetime | None = Field(description="null where there is no answer, or it was cleared.")
    covered_hours: float | None
    score: float | None


class SymbolHeld(Schema):
    symbol: str
    sources: list[Held]


class AnswerHeld(Held):
    sentiment: Sentiment | None
    job: fleet.Explanation | None = Field(description="The fetch that is queued for it, if there is one.")


class SymbolAnswers(Schema):
    symbol: str
    sources: list[AnswerHeld]


@router.get("")
def symbols(
    context: Ctx,
    pages: Pages,
    most: Most = 100,
    after: Annotated[str, Query(max_length=64, description="The last symbol of the page before.")] = "",
) -> list[SymbolHeld]:
    """The symbols that are kept warm, in their alphabet, and how fresh each source's answer is."""
    by_symbol: dict[str, list[Held]] = {}
    for source in context.fleet.status().sources:
        for one in source.kept:
            by_symbol.setdefault(one.request.symbol, []).append(Held.model_validate(fleet.Held.of(one)))
    names = sorted(name for name in by_symbol if name > after)
    page = pages.cut(names, most, after=lambda page: page[-1])
    return [SymbolHeld(symbol=name, sources=by_symbol[name]) for name in page]


@router.get("/{symbol}")
def symbol(
    context: Ctx,
    symbol: SymbolPath,
    hours: Annotated[int, Query(ge=1, le=100_000)] = 24,
) -> SymbolAnswers:
    """What each source's cache has of a symbol's hours, and what is queued for it."""
    return SymbolAnswers.model_validate(context.fleet.symbol(symbol, hours))
