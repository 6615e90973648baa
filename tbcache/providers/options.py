"""Unusual Whales: option flow. Sentiment comes from side and type, weighted by premium."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import httpx2

from tbcache.fetch import http_response, http_time, rate_hint
from tbcache.fetch.http_response import ErrorMeaning
from tbcache.models import FetchRequest, HttpRequest, Page, RateHint, RawResponse
from tbcache.models.coerce import count, moment, record, unique
from tbcache.models.error import UpstreamQuotaExhausted
from tbcache.providers import flow
from tbcache.providers.base import Provider
from tbcache.providers.client import HeaderAuth

LIMIT = 200
#: How many are on a page where no limit is asked for, or where the upstream does not heed it.
DEFAULT_LIMIT = 100
_NESTING = 4


class OptionsProvider(Provider):
    """Flow alerts of one ticker: repeated hits, sweeps, floor trades."""

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        params = {
            "ticker_symbol": ",".join(fetch.symbols),
            "newer_than": str(int(since.timestamp())),
            "limit": str(LIMIT),
        }
        if cursor is not None:
            params["older_than"] = cursor
        elif fetch.until is not None:
            params["older_than"] = str(int(fetch.until.timestamp()) + 1)
        url = f"{self.source.base_url.rstrip('/')}/api/option-trades/flow-alerts"
        return HttpRequest("GET", url, params, {"User-Agent": self.settings.user_agent})

    def auth(self) -> httpx2.Auth | None:
        return HeaderAuth.of("TBCACHE_OPTIONS__API_KEY", self.settings.api_key, "Authorization", "Bearer")

    def parse(self, response: RawResponse) -> Page:
        body = http_response.page(self.source.name, response, _judge)
        rows = list(_rows(body))
        is_cut = http_response.complains(body)
        if not rows and (is_cut or not _is_quiet(body)):
            raise http_response.unreadable(
                self.source.name, response, "the answer holds no rows of option flow"
            )
        items = unique(flow.to_item(row) for row in rows)
        # The rows that came count, read or not: one broken row must not make a full page the last one.
        is_full = max(len(rows), _came(body)) >= DEFAULT_LIMIT
        return Page(
            items,
            next=_older(rows) if is_full else None,
            hints=(*rate_hint.hints(response), *_daily_hint(response)),
            exhausted=not is_full and not is_cut,
        )


def next_reset(start: datetime) -> datetime:
    """The next 20:00 in New York (as UTC), when the daily quota starts anew."""
    local = start.astimezone(_new_york())
    reset = local.replace(hour=20, minute=0, second=0, microsecond=0)
    return (reset if reset > local else reset + timedelta(days=1)).astimezone(UTC)


def _new_york() -> tzinfo:
    try:
        return ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        # A machine without a database of time zones waits by winter time: never too short.
        return timezone(timedelta(hours=-5))


def _judge(body: Any, response: RawResponse) -> ErrorMeaning | None:
    is_daily = record(body).get("code") == "daily_request_limit_hit"
    is_spent = response.status == 429 and any(hint.remaining == 0 for hint in _daily_hint(response))
    if is_daily or is_spent:
        return ErrorMeaning(UpstreamQuotaExhausted, http_time.renewal(response, next_reset))
    return None


def _daily_hint(response: RawResponse) -> tuple[RateHint, ...]:
    used = count(response.headers.get("x-uw-daily-req-count"))
    limit = count(response.headers.get("x-uw-token-req-limit"))
    reset_at = http_time.renewal(response, next_reset)
    if used is None or limit is None or reset_at is None:
        return ()
    return (RateHint(max(0, limit - used), reset_at, limit),)


def _rows(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Every row, however it is wrapped: bare, under ``data``, grouped, or in channel messages."""
    if isinstance(value, dict) and flow.is_row(value):
        yield value
    elif isinstance(value, dict | list) and depth < _NESTING:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _rows(inner, depth + 1)


def _came(body: Any) -> int:
    """How many entries the answer's list has, whatever they are."""
    listed = body if isinstance(body, list) else record(body).get("data")
    return len(listed) if isinstance(listed, list) else 0


def _is_quiet(body: Any) -> bool:
    """True for a page without rows, as on a weekend, be it by expiry; an object of another shape is not.

    Of a channel that has sent nothing yet there are only acknowledgements.
    """
    rows = body if isinstance(body, list) else record(body).get("data", body)
    if isinstance(rows, dict):
        is_wrapped = rows is not body
        return (is_wrapped or bool(rows)) and all(moment(expiry) and not of for expiry, of in rows.items())
    return isinstance(rows, list) and all(record(row).get("status") == "ok" for row in rows)


def _older(rows: list[dict[str, Any]]) -> str | None:
    """Where the next page of alerts starts: the second after the last one of a full page.

    Whole seconds, so that nothing between two alerts of one second is left out;
    what comes twice has the same id.
    """
    times = [at for row in rows if (at := moment(row.get("created_at"))) is not None]
    return str(math.ceil(times[-1].timestamp())) if times else None
