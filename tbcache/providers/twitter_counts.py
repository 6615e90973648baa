"""How many posts X counts for a query, which costs as much as one post: a week of volume in one request.

The endpoint has a limit of its own, and so it is a source of its own, ``twitter_counts``: with its own
window, price, budget and closure. What it says is kept for a day, for the whole fleet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tbcache.fetch import http_response
from tbcache.fetch.function import Fetcher, FunctionSource, source
from tbcache.io import run, world
from tbcache.io.log import get_logger
from tbcache.models import HttpRequest, RawResponse
from tbcache.models.coerce import count, holds_records, moment, record, records
from tbcache.models.error import RateLimited, UpstreamError

log = get_logger("tbcache.providers")

NAME = "twitter_counts"
PATH = "/2/tweets/counts/recent"
#: https://docs.x.com/x-api/fundamentals/rate-limits: per app.
LIMITS = "300/15m"
PRICE = 0.005
_DAY = 86400.0
_MINUTE = timedelta(minutes=1)
_PER_QUARTER = 15

#: Sends a request, signed.
Exchange = Callable[[HttpRequest], Awaitable[RawResponse]]


class PostCounts:
    """The volume of queries, by X's own count."""

    def __init__(self, budget: float, exchange: Exchange) -> None:
        """``budget``: US dollars a day."""
        self._exchange = exchange
        counts: FunctionSource = source(
            NAME, limits=LIMITS, ttl=_DAY, cost_per_request=PRICE, daily_budget=budget
        )
        # The request follows from the query and the time: only the first is what the counts are of.
        self._fetcher: Fetcher[[str, HttpRequest], dict[str, int]] = counts.fetcher(
            name="quarters", key=lambda query, request: query, patience=0.0
        )(self._load)

    async def of(self, request: HttpRequest) -> Mapping[datetime, int]:
        """How many posts there are in the quarter of an hour from each of these on.

        Nothing where there is no slot, money or answer.
        """
        try:
            found = await world().offload(lambda: self._fetcher(request.params["query"], request))
        except (UpstreamError, RateLimited) as error:
            log.info("counts.absent", source=NAME, reason=str(error))
            return {}
        return {datetime.fromisoformat(start): posts for start, posts in found.items()}

    def _load(self, query: str, request: HttpRequest) -> dict[str, int]:
        return parse(run(self._exchanged(request)))

    async def _exchanged(self, request: HttpRequest) -> RawResponse:
        return await self._exchange(request)


def parse(response: RawResponse) -> dict[str, int]:
    """The posts of each quarter of an hour of which each minute was counted, by its start as ISO 8601.

    Raises:
      UpstreamError: the answer holds no counts.
    """
    body = record(http_response.page(NAME, response))
    if not holds_records(body.get("data")):
        raise http_response.unreadable(NAME, response, "the answer holds no counts")
    minutes: dict[datetime, list[int]] = {}
    for row in records(body["data"]):
        start, posts = moment(row.get("start")), count(row.get("tweet_count"))
        if start is not None and posts is not None and _is_minute(row, start):
            minutes.setdefault(_quarter(start), []).append(posts)
    return {start.isoformat(): sum(each) for start, each in minutes.items() if len(each) == _PER_QUARTER}


def _quarter(minute: datetime) -> datetime:
    return minute.replace(minute=minute.minute // _PER_QUARTER * _PER_QUARTER)


def _is_minute(row: Mapping[str, Any], start: datetime) -> bool:
    """True for a whole minute: the first and the last are cut off."""
    end = moment(row.get("end"))
    return end is not None and end - start == _MINUTE
