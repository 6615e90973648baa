"""Stocktwits: the streams of a symbol and of a user."""

from __future__ import annotations

import functools
import html
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from tbcache.embedded.simulator import chatter, post
from tbcache.embedded.simulator.api import Api, BadParameter, bearer, stamp, whole_seconds
from tbcache.embedded.simulator.reply import Call, Reply
from tbcache.embedded.simulator.stream import CROWD, DAY, POPULARITY, Stream, is_known, mood_salt
from tbcache.embedded.simulator.window import Arrival

PREFIX = "/api/2/streams/"
TOKEN_VARIABLE = "TBCACHE_STOCKTWITS__ACCESS_TOKEN"  # noqa: S105 -- a variable's name
#: How far back a stream can be paged.
HISTORY_SECONDS = 90 * DAY
#: The messages of a user are looked for among so many of the newest.
CANDIDATES = 20_000
LABELLED = 0.42
#: The most messages of a page, whatever the request asks for.
MOST = 30


class StocktwitsApi(Api):
    name = "stocktwits"
    per_day = 1400.0

    def authorize(self, call: Call, now: float) -> Reply | None:
        """The refusal of a wrong token, where the right one is known. A call without a token is accepted."""
        given = bearer(call) or call.params.get("access_token", "")
        known = self.credentials.get(TOKEN_VARIABLE)
        return self.error(401) if given and known and given != known else None

    def answer(self, call: Call, now: float, plan: str) -> Reply:
        parts = call.path.removeprefix(PREFIX).removesuffix(".json").split("/")
        is_path = call.path.startswith(PREFIX) and call.path.endswith(".json") and len(parts) == 2
        if not is_path or parts[0] not in ("symbol", "user") or call.method != "GET":
            return self.error(404)
        kind, name = parts
        try:
            return (
                self._of_symbol(name.upper(), call, now)
                if kind == "symbol"
                else self._of_user(name, call, now)
            )
        except BadParameter as bad:
            return _failure(400, bad.message)

    def error(self, status: int) -> Reply:
        words = {
            400: "Bad request",
            401: "Invalid or missing access token",
            403: "Forbidden",
            404: "Not found",
            429: "Rate limit exceeded.",
        }
        return _failure(status, words.get(status, "Something went wrong"))

    def refuse(self, arrival: Arrival, now: float) -> Reply:
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

    def ids(self, stream: Stream, k: int) -> tuple[str, ...]:
        return (str(message_id(stream, k)),)

    def _of_symbol(self, symbol: str, call: Call, now: float) -> Reply:
        if not symbol or not is_known(symbol):
            return _failure(404, "Symbol not found")
        head = {"symbol": _symbol(self.seed, symbol)}
        return self._page((symbol,), None, head, call.params, now)

    def _of_user(self, name: str, call: Call, now: float) -> Reply:
        """The latest messages of a user about popular symbols."""
        person = chatter.named(name)
        if person is None:
            return _failure(404, "User not found")
        return self._page(POPULARITY, person, {"user": _user(person)}, call.params, now)

    def _page(
        self,
        symbols: Iterable[str],
        author: chatter.Person | None,
        head: dict[str, Any],
        params: Mapping[str, str],
        now: float,
    ) -> Reply:
        """A page of messages that name one of ``symbols``, by ``author`` alone where that is given."""
        limit = min(MOST, _number(params, "limit", MOST))
        since = _number(params, "since", 0)
        # `max` is inclusive, as that of the real API may be: the next page repeats the last message.
        newest = _number(params, "max", int(now) * 1000 + 999)
        found = self._between(symbols, since, newest, now)
        if author is not None:
            recent = itertools.islice(found, CANDIDATES)
            found = (item for item in recent if post.author(*item) == author)
        wanted = list(itertools.islice(found, limit + 1))
        page = wanted[:limit]
        ids = [message_id(*item) for item in page]
        body = {
            "response": {"status": 200},
            **head,
            "cursor": {
                "more": len(wanted) > limit,
                "since": max(ids, default=None),
                "max": min(ids, default=None),
            },
            "messages": [_message(*item) for item in page],
        }
        return Reply.page(body, tuple(map(str, ids)))

    def _between(
        self, symbols: Iterable[str], since: int, newest: int, now: float
    ) -> Iterator[tuple[Stream, int]]:
        """The messages of the last 90 days with ``since < id <= newest``, the newest first."""
        start = max(now - HISTORY_SECONDS, since // 1000)
        end = min(now, newest // 1000 + 1)
        for stream, k in self.items(symbols, start, max(start, end), message_id):
            if since < message_id(stream, k) <= newest and post.is_there(stream, k, now):
                yield stream, k


def message_id(stream: Stream, k: int) -> int:
    """The id of item ``k``. Ids are ordered by time; their last three digits differ by stream."""
    return stream.at(k) * 1000 + (999 if stream.symbol == CROWD else stream.salt % 999)


def _number(params: Mapping[str, str], name: str, default: int) -> int:
    """The number in parameter ``name``. 0 counts as absent: clients send ``max=0&since=0`` for the newest."""
    text = params.get(name, "")
    if text and not text.isdecimal():
        raise BadParameter(name, f"{name} is not a number")
    return int(text or 0) or default


@functools.lru_cache(maxsize=8192)
def _message(stream: Stream, k: int) -> msgspec.Raw:
    written = post.write(stream, k)
    facts: dict[str, Any] = {
        "id": message_id(stream, k),
        "body": html.escape(written.text),
        "created_at": stamp(written.at),
        "user": _user(written.author),
        "source": {"id": 2269, "title": "StockTwits Web", "url": "https://stocktwits.com"},
        "symbols": [_symbol(stream.seed, symbol) for symbol in written.symbols],
        "mentioned_users": [f"@{post.author(stream, of).username}"] if (of := _answered(written)) else [],
        "entities": {"media": [], "sentiment": _label(written, stream.dice(k))},
    }
    if of:
        facts["conversation"] = _conversation(message_id(stream, of))
    return msgspec.Raw(msgspec.json.encode(facts))


def _answered(written: post.Post) -> int | None:
    return written.of if written.kind == "reply" else None


def _conversation(parent: int) -> dict[str, Any]:
    return {"parent": False, "parent_message_id": parent, "in_reply_to_message_id": parent, "replies": 1}


def _label(written: post.Post, dice: random.Random) -> dict[str, str] | None:
    """The label that the author chose, if any. Authors with a neutral stance mostly choose bullish."""
    draw, lean = dice.random(), dice.random()
    if draw >= LABELLED and written.kind != "spam":
        return None
    is_bullish = written.stance == "bullish" or (written.stance == "neutral" and lean < 0.75)
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


@functools.lru_cache(maxsize=1024)
def _symbol(seed: int, symbol: str) -> dict[str, Any]:
    salt = mood_salt(seed, symbol)
    return {
        "id": salt % 90_000,
        "symbol": symbol,
        "title": f"{symbol} Inc",
        "aliases": [],
        "is_following": False,
        "watchlist_count": salt % 900_000,
    }


def _failure(status: int, message: str) -> Reply:
    return Reply.json(status, {"response": {"status": status}, "errors": [{"message": message}]})
