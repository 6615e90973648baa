"""The page of a symbol over time: what each source would have answered, as the database has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from tbcache.api.address import client_of
from tbcache.api.context import Ctx
from tbcache.api.page import chart, part
from tbcache.api.page.live import live_of
from tbcache.api.security import check_page_read
from tbcache.models import FetchRequest, Point
from tbcache.models.error import ConfigurationError, RepositoryUnavailable

#: Of how many hours the course is shown, and how many hours lie between two moments of it.
SPANS: dict[str, tuple[int, int]] = {"24h": (24, 1), "7d": (168, 6), "30d": (720, 24)}
DAY_HOURS = 24

router = APIRouter(include_in_schema=False)

Span = Literal["24h", "7d", "30d"]


@dataclass(frozen=True, slots=True)
class Past:
    """What a source would have answered at each moment; ``why`` says why nothing is known, if nothing is."""

    source: str
    points: tuple[Point, ...] = ()
    picture: Markup | None = None
    why: str = ""


@router.get("/symbol/{symbol}/past")
async def past(request: Request, context: Ctx, symbol: str, span: Span = "24h") -> HTMLResponse:
    """It computes, so that only so many are made at once, and none for a stranger's page."""
    check_page_read(request, context.tokens)
    status = await live_of(request).status()
    name, names = FetchRequest("any", symbol).symbol, [one.name for one in status.sources if one.is_enabled]
    found = await context.past.run(
        client_of(request.scope), lambda: [_past(source, name, status.at, span) for source in names]
    )
    return part.headed("symbol_past.html", status, symbol=name, pasts=found, span=span, spans=list(SPANS))


def _past(source: str, symbol: str, now: datetime, span: Span) -> Past:
    # It loads what scores items, which no other page needs.
    from tbcache.providers import get_provider

    (hours, every), end = SPANS[span], now.replace(microsecond=0)
    try:
        begin = end - timedelta(hours=hours - every)
        found = get_provider(source).history(symbol, begin, end, every * 3600, DAY_HOURS)
    except (RepositoryUnavailable, ConfigurationError) as error:
        return Past(source, why=str(error))
    if found.reason is not None:
        return Past(source, why=found.reason)
    places = [_place(point) for point in found]
    known = [place.score for place in places if place.score is not None]
    words = f" from {min(known):+.2f} to {max(known):+.2f}" if known else ""
    return Past(source, found.points, chart.course(places, f"{source}: {len(known)} scores{words}"))


def _place(point: Point) -> chart.Place:
    found = point.sentiment
    if found is None:
        return chart.Place(None, None, 0.0, 0)
    return chart.Place(found.score, found.standard_error, found.confidence or 0.0, found.count)
