"""Stocktwits: the stream of one symbol."""

from __future__ import annotations

import functools
import html
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tbcache.simulator import chatter
from tbcache.simulator.answer import Answer, Call
from tbcache.simulator.dialect import BadParameter, Dialect, bearer, stamp, whole_seconds
from tbcache.simulator.stream import DAY, Stream, is_known
from tbcache.simulator.window import Arrival

PREFIX = "/api/2/streams/symbol/"
TOKEN_VARIABLE = "TBCACHE_STOCKTWITS__ACCESS_TOKEN"  # noqa: S105 -- a variable's name
#: How far back a stream can be paged.
HISTORY_SECONDS = 90 * DAY
LABELLED = 0.42
#: As many messages as a page holds, whatever is asked for.
MOST = 30


class StocktwitsDialect(Dialect):
    name = "stocktwits"
    per_day = 1400.0

    def authorize(self, call: Call, now: float) -> Answer | None:
        """No token is fine; a wrong one is not, where the right one is known."""
        given = bearer(call) or call.params.get("access_token", "")
        known = self.credentials.get(TOKEN_VARIABLE)
        return self.error(401) if given and known and given != known else None

    def answer(self, call: Call, now: float, plan: str) -> Answer:
        symbol = call.path.removeprefix(PREFIX).removesuffix(".json").upper()
        if not call.path.startswith(PREFIX) or not call.path.endswith(".json") or call.method != "GET":
            return self.error(404)
        if not symbol or "/" in symbol or not is_known(symbol):
            return _failure(404, "Symbol not found")
        try:
            return self._page(self.stream(symbol), call.params, now)
        except BadParameter as bad:
            return _failure(400, bad.message)

    def error(self, status: int) -> Answer:
        words = {
            400: "Bad request",
            401: "Invalid or missing access token",
            403: "Forbidden",
            404: "Not found",
            429: "Rate limit exceeded.",
        }
        return _failure(status, words.get(status, "Something went wrong"))

    def refuse(self, arrival: Arrival, now: float) -> Answer:
        limit = arrival.tightest.limit
        period = {60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}.get(limit.window_seconds, "at once")
        message = f"Rate limit exceeded. Client may not make more than {limit.count} requests {period}."
        return _failure(429, message)

    def rate_headers(self, arrival: Arrival, now: float) -> Mapping[str, str]:
        reading = arrival.tightest
        return {
            "x-ratelimit-limit": str(reading.limit.count),
            "x-ratelimit-remaining": str(reading.remaining),
            "x-ratelimit-reset": str(whole_seconds(now + reading.opens_in)),
        }

    def _page(self, stream: Stream, params: Mapping[str, str], now: float) -> Answer:
        limit = min(MOST, _number(params, "limit", MOST))
        since = _number(params, "since", 0)
        # Inclusive, as the real one can be: the last message of a page comes again on the next.
        newest = _number(params, "max", int(now) * 1000 + 999)
        wanted = list(itertools.islice(_between(stream, since, newest, now), limit + 1))
        page = wanted[:limit]
        ids = [message_id(stream, k) for k in page]
        body = {
            "response": {"status": 200},
            "symbol": _symbol(stream),
            "cursor": {
                "more": len(wanted) > limit,
                "since": max(ids, default=None),
                "max": min(ids, default=None),
            },
            "messages": [_message(stream, k) for k in page],
        }
        return Answer.page(body, tuple(map(str, ids)))


def message_id(stream: Stream, k: int) -> int:
    """Ordered by time; the last three digits tell symbols apart."""
    return stream.at(k) * 1000 + stream.salt % 1000


def _between(stream: Stream, since: int, newest: int, now: float) -> Iterator[int]:
    """The items with ``since < id <= newest`` that the history still holds, newest first."""
    start = max(now - HISTORY_SECONDS, since // 1000)
    end = min(now, newest // 1000 + 1)
    numbers = reversed(stream.between(start, max(start, end)))
    return (k for k in numbers if since < message_id(stream, k) <= newest)


def _number(params: Mapping[str, str], name: str, default: int) -> int:
    """The number that ``name`` gives. 0 is none: clients send ``max=0&since=0`` for "from the newest"."""
    text = params.get(name, "")
    if text and not text.isdecimal():
        raise BadParameter(name, f"{name} is not a number")
    return int(text or 0) or default


@functools.lru_cache(maxsize=8192)
def _message(stream: Stream, k: int) -> orjson.Fragment:
    dice = stream.dice(k)
    at = stream.at(k)
    view = chatter.stance(dice, stream.mood(at))
    text = chatter.post(dice, view, stream.symbol, chatter.price(stream, at))
    facts = {
        "id": message_id(stream, k),
        "body": html.escape(text),
        "created_at": stamp(at),
        "user": _user(chatter.person(dice)),
        "source": {"id": 2269, "title": "StockTwits Web", "url": "https://stocktwits.com"},
        "symbols": [_symbol(stream)],
        "mentioned_users": [],
        "entities": {"media": [], "sentiment": _label(dice.random(), dice.random(), view)},
    }
    return orjson.Fragment(orjson.dumps(facts))


def _label(draw: float, lean: float, view: chatter.Stance) -> dict[str, str] | None:
    """What the author marked the message as; those who see nothing either way lean bullish."""
    if draw >= LABELLED:
        return None
    is_bullish = view == "bullish" or (view == "neutral" and lean < 0.75)
    return {"basic": "Bullish" if is_bullish else "Bearish"}


def _user(person: chatter.Person) -> dict[str, Any]:
    return {
        "id": 1_000_000 + person.number,
        "username": person.username,
        "name": person.name,
        "join_date": stamp(1_400_000_000 + person.number * 60_000, "%Y-%m-%d"),
        "official": False,
        "identity": "User",
        "followers": person.number * 7 % 900,
        "following": person.number % 90,
        "ideas": person.number * 3 % 5000,
        "like_count": person.number * 11 % 4000,
    }


def _symbol(stream: Stream) -> dict[str, Any]:
    return {
        "id": stream.mood_salt % 90_000,
        "symbol": stream.symbol,
        "title": f"{stream.symbol} Inc",
        "aliases": [],
        "is_following": False,
        "watchlist_count": stream.mood_salt % 900_000,
    }


def _failure(status: int, message: str) -> Answer:
    return Answer.json(status, {"response": {"status": status}, "errors": [{"message": message}]})
