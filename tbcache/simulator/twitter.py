"""X API v2: recent search and recent counts."""

from __future__ import annotations

import functools
import html
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from tbcache.simulator import base36, chatter
from tbcache.simulator.answer import Answer, Call
from tbcache.simulator.dialect import BadParameter, Dialect, bearer, moment, stamp, whole_seconds
from tbcache.simulator.query import has_cashtag_operator, symbols
from tbcache.simulator.stream import DAY, Stream
from tbcache.simulator.window import Arrival, FixedWindow

SEARCH = "/2/tweets/search/recent"
COUNTS = "/2/tweets/counts/recent"
COUNTS_PRICE = 0.005
WEEK = 7 * DAY

_PROBLEM = "application/problem+json"
_TWITTER_EPOCH_MS = 1_288_834_974_657
_TOKEN_PREFIX = "b26v89c19zqg8o3f"  # noqa: S105 -- a page token, no secret
_GRANULARITY = {"minute": 60, "hour": 3600, "day": DAY}
_SPAN_PARAMS = {"query", "start_time", "end_time", "since_id", "until_id", "next_token"}
_SEARCH_PARAMS = _SPAN_PARAMS | {
    "max_results", "sort_order", "tweet.fields", "expansions", "user.fields",
    "media.fields", "place.fields", "poll.fields", "pagination_token",
}  # fmt: skip
_COUNTS_PARAMS = _SPAN_PARAMS | {"granularity", "pagination_token", "search_count.fields"}
_DEFAULT_FIELDS = ("id", "text", "edit_history_tweet_ids")
_TWEET_FIELDS = frozenset({
    "article", "attachments", "author_id", "card_uri", "community_id", "context_annotations",
    "conversation_id", "created_at", "display_text_range", "edit_controls", "edit_history_tweet_ids",
    "entities", "geo", "id", "in_reply_to_user_id", "lang", "media_metadata", "non_public_metrics",
    "note_tweet", "organic_metrics", "possibly_sensitive", "promoted_metrics", "public_metrics",
    "referenced_tweets", "reply_settings", "scopes", "source", "text", "withheld",
})  # fmt: skip
_TITLES = {
    400: "Invalid Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found Error",
    429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip


class TwitterDialect(Dialect):
    """Plans: ``pro``, and ``basic``, which has no cashtag operator."""

    name = "twitter"
    plans = ("pro", "basic")
    per_day = 600.0
    window = FixedWindow

    def authorize(self, call: Call, now: float) -> Answer | None:
        if bearer(call) == self.credentials["TBCACHE_TWITTER__BEARER_TOKEN"]:
            return None
        return self.error(401)

    def answer(self, call: Call, now: float, plan: str) -> Answer:
        handlers = {SEARCH: self._search, COUNTS: self._counts}
        if call.path not in handlers or call.method != "GET":
            return self.error(404)
        try:
            return handlers[call.path](call.params, now, plan)
        except BadParameter as bad:
            return _invalid(bad.name, call.params.get(bad.name, ""), bad.message)

    def error(self, status: int) -> Answer:
        if status == 402:
            detail = "Your account has no credits left to fulfill this request."
            return _problem(402, "CreditsDepleted", detail, "https://api.twitter.com/2/problems/credits")
        if status == 403:
            detail = "Your client app is not enrolled with the appropriate level of API access."
            kind = "https://api.twitter.com/2/problems/client-forbidden"
            return _problem(403, "Client Forbidden", detail, kind, reason="client-not-enrolled")
        title = _TITLES.get(status, "Service Unavailable")
        return _problem(status, title, title)

    def refuse(self, arrival: Arrival, now: float) -> Answer:
        if arrival.tightest.limit.window_seconds >= DAY:
            return _usage_capped("Daily")
        return self.error(429)

    def quota_exhausted(self, now: float) -> Answer:
        return _usage_capped("Monthly")

    def rate_headers(self, arrival: Arrival, now: float) -> Mapping[str, str]:
        reading = arrival.tightest
        return {
            "x-rate-limit-limit": str(reading.limit.count),
            "x-rate-limit-remaining": str(reading.remaining),
            "x-rate-limit-reset": str(whole_seconds(now + reading.opens_in)),
        }

    def _search(self, params: Mapping[str, str], now: float, plan: str) -> Answer:
        _check_names(params, _SEARCH_PARAMS)
        fields = _fields(params)
        limit = _max_results(params)
        found = list(itertools.islice(self._matches(params, now, plan), limit + 1))
        page = found[:limit]
        rows = [_tweet(stream, k, fields) for stream, k in page]
        if params.get("sort_order") == "relevancy":
            rows.reverse()
        return _page(page, rows, params, has_more=len(found) > limit)

    def _counts(self, params: Mapping[str, str], now: float, plan: str) -> Answer:
        _check_names(params, _COUNTS_PARAMS)
        size = _GRANULARITY.get(params.get("granularity", "hour"))
        if size is None:
            raise BadParameter(
                "granularity", "The `granularity` query parameter is not one of [minute,hour,day]"
            )
        start, end = _span(params, now)
        times = sorted(stream.at(k) for stream, k in self._matches(params, now, plan))
        body = {"data": _buckets(times, start, end, size), "meta": {"total_tweet_count": len(times)}}
        answer = Answer.json(200, body)
        return Answer(200, answer.body, answer.headers, cost=COUNTS_PRICE)

    def _matches(self, params: Mapping[str, str], now: float, plan: str) -> Iterable[tuple[Stream, int]]:
        """Every post the query finds, newest first."""
        query = _query(params, plan)
        start, end = _span(params, now)
        since, until = _id(params, "since_id", now), _until(params)
        for stream, k in self.items(symbols(query), start, end):
            number = tweet_id(stream, k)
            if number <= since:
                return
            if until is None or number < until:
                yield stream, k


@functools.lru_cache(maxsize=50_000)
def tweet_id(stream: Stream, k: int) -> int:
    """A snowflake: ordered by time, its low bits tell symbols apart."""
    return (stream.at(k) * 1000 - _TWITTER_EPOCH_MS) << 22 | stream.salt & 0x3FFFFF


def _query(params: Mapping[str, str], plan: str) -> str:
    query = params.get("query", "").strip()
    if not query:
        raise BadParameter("query", "The `query` query parameter can not be empty")
    if len(query) > 512:
        raise BadParameter("query", f"query: size must be between 1 and 512, was {len(query)}")
    if plan == "basic" and has_cashtag_operator(query):
        message = (
            "Reference to invalid operator 'cashtag'. Operator is not available in current product or "
            "product packaging. Please refer to complete available operator list."
        )
        raise BadParameter("query", message)
    return query


def _span(params: Mapping[str, str], now: float) -> tuple[float, float]:
    """The window that is searched: ``start_time`` inclusive, ``end_time`` exclusive."""
    oldest = now - WEEK
    start = oldest
    # With since_id, start_time is ignored.
    if "start_time" in params and "since_id" not in params:
        start = _time(params, "start_time")
        if start < int(oldest):
            message = f"'start_time' must be on or after {stamp(oldest)} (7 days before the request)"
            raise BadParameter("start_time", f"Invalid 'start_time':'{params['start_time']}'. {message}")
    if "end_time" not in params:
        return start, now
    end = _time(params, "end_time")
    if end > now - 9:  # 10, less the second that whole seconds can hide
        message = "'end_time' must be a minimum of 10 seconds prior to the request time."
        raise BadParameter("end_time", f"Invalid 'end_time':'{params['end_time']}'. {message}")
    if end <= start:
        raise BadParameter("end_time", "Invalid 'end_time'. 'end_time' must be after 'start_time'.")
    return start, end


def _time(params: Mapping[str, str], name: str) -> float:
    try:
        return moment(params[name])
    except ValueError:
        message = f"The `{name}` query parameter value [{params[name]}] is not a valid RFC3339 timestamp"
        raise BadParameter(name, message) from None


def _id(params: Mapping[str, str], name: str, now: float) -> int:
    text = params.get(name, "0")
    if not text.isdecimal() or len(text) > 19:
        raise BadParameter(name, f"The `{name}` query parameter value [{text}] is not valid")
    oldest = (int(now - WEEK) * 1000 - _TWITTER_EPOCH_MS) << 22
    if name == "since_id" and name in params and int(text) < oldest:
        message = f"'since_id' must be a tweet id created after {stamp(now - WEEK)}. Please use a larger id."
        raise BadParameter(name, message)
    return int(text)


def _until(params: Mapping[str, str]) -> int | None:
    """Ids below this one: of ``until_id``, or of the page that ``next_token`` follows."""
    name = "next_token" if "next_token" in params else "pagination_token"
    token = params.get(name)
    if token is None:
        return _id(params, "until_id", 0.0) if "until_id" in params else None
    number = base36.decode(token.removeprefix(_TOKEN_PREFIX)) if token.startswith(_TOKEN_PREFIX) else None
    if number is None:
        raise BadParameter(name, f"The `{name}` query parameter value [{token}] is not valid")
    return number


def _max_results(params: Mapping[str, str]) -> int:
    text = params.get("max_results", "10")
    if not text.isdecimal() or not 10 <= int(text) <= 100:
        raise BadParameter(
            "max_results", f"The `max_results` query parameter value [{text}] is not between 10 and 100"
        )
    return int(text)


def _fields(params: Mapping[str, str]) -> tuple[str, ...]:
    asked = [name for name in params.get("tweet.fields", "").split(",") if name]
    for name in asked:
        if name not in _TWEET_FIELDS:
            known = ",".join(sorted(_TWEET_FIELDS))
            message = f"The `tweet.fields` query parameter value [{name}] is not one of [{known}]"
            raise BadParameter("tweet.fields", message)
    expanded = ("author_id",) if "author_id" in params.get("expansions", "").split(",") else ()
    return tuple(dict.fromkeys((*_DEFAULT_FIELDS, *asked, *expanded)))


def _check_names(params: Mapping[str, str], known: set[str]) -> None:
    for name in params:
        if name not in known:
            listed = ",".join(sorted(known))
            raise BadParameter(name, f"The query parameter [{name}] is not one of [{listed}]")


@functools.lru_cache(maxsize=8192)
def _tweet(stream: Stream, k: int, fields: tuple[str, ...]) -> orjson.Fragment:
    """Post ``k`` with the fields that were asked for, as JSON."""
    row = _facts(stream, k)
    return orjson.Fragment(orjson.dumps({name: row[name] for name in fields if name in row}))


def _facts(stream: Stream, k: int) -> dict[str, Any]:
    dice = stream.dice(k)
    at = stream.at(k)
    view = chatter.stance(dice, stream.mood(at))
    text = html.escape(chatter.post(dice, view, stream.symbol, chatter.price(stream, at)), quote=False)
    number = str(tweet_id(stream, k))
    start = text.find("$" + stream.symbol)
    return {
        "id": number,
        "text": text,
        "edit_history_tweet_ids": [number],
        "author_id": _author_id(_author(stream, k)),
        "created_at": stamp(at, "%Y-%m-%dT%H:%M:%S.000Z"),
        "conversation_id": number,
        "lang": "en",
        "possibly_sensitive": False,
        "reply_settings": "everyone",
        "source": "Twitter Web App",
        "entities": {
            "cashtags": [{"start": start, "end": start + 1 + len(stream.symbol), "tag": stream.symbol}]
        },
        "public_metrics": {
            "retweet_count": dice.randrange(12),
            "reply_count": dice.randrange(8),
            "like_count": dice.randrange(90),
            "quote_count": dice.randrange(3),
            "bookmark_count": dice.randrange(5),
            "impression_count": dice.randrange(50, 4000),
        },
    }


def _author(stream: Stream, k: int) -> chatter.Person:
    return chatter.Person((stream.salt + k * 7919) % 4000)


def _author_id(person: chatter.Person) -> str:
    return str(20_000_000 + person.number * 7919)


def _page(
    page: list[tuple[Stream, int]], rows: list[orjson.Fragment], params: Mapping[str, str], *, has_more: bool
) -> Answer:
    ids = tuple(str(tweet_id(stream, k)) for stream, k in page)
    if not ids:
        # Not even an empty list: the key is missing.
        return Answer.page({"meta": {"result_count": 0}}, ())
    meta: dict[str, Any] = {"newest_id": ids[0], "oldest_id": ids[-1], "result_count": len(ids)}
    if has_more:
        meta["next_token"] = _TOKEN_PREFIX + base36.encode(int(ids[-1]))
    body: dict[str, Any] = {"data": rows}
    people = _expanded(page, params)
    if people:
        asked = params.get("user.fields", "")
        body["includes"] = {"users": [_user(person, asked) for person in people]}
    return Answer.page({**body, "meta": meta}, ids, tuple(map(_author_id, people)))


def _expanded(page: list[tuple[Stream, int]], params: Mapping[str, str]) -> list[chatter.Person]:
    """The users that the answer holds, each once."""
    if "author_id" not in params.get("expansions", "").split(","):
        return []
    return list(dict.fromkeys(_author(stream, k) for stream, k in page))


@functools.lru_cache(maxsize=8192)
def _user(person: chatter.Person, asked: str) -> orjson.Fragment:
    wanted = {"id", "name", "username", *asked.split(",")}
    facts = {
        "id": _author_id(person),
        "name": person.name,
        "username": person.username,
        "created_at": stamp(1_300_000_000 + person.number * 90_000, "%Y-%m-%dT%H:%M:%S.000Z"),
        "verified": person.number % 9 == 0,
        "public_metrics": {
            "followers_count": person.number * 13 % 9000,
            "following_count": person.number % 700,
        },
    }
    return orjson.Fragment(orjson.dumps({name: value for name, value in facts.items() if name in wanted}))


def _buckets(times: list[int], start: float, end: float, size: int) -> list[dict[str, Any]]:
    edges = [start, *range(int(start // size + 1) * size, int(end), size), end]
    counts = [0] * (len(edges) - 1)
    index = 0
    for at in times:
        while at >= edges[index + 1]:
            index += 1
        counts[index] += 1
    form = "%Y-%m-%dT%H:%M:%S.000Z"
    return [
        {"start": stamp(a, form), "end": stamp(b, form), "tweet_count": n}
        for (a, b), n in zip(itertools.pairwise(edges), counts, strict=True)
    ]


def _problem(status: int, title: str, detail: str, kind: str = "about:blank", **more: str) -> Answer:
    body = {"title": title, "detail": detail, "type": kind, "status": status, **more}
    return Answer.json(status, body, content_type=_PROBLEM)


def _usage_capped(period: str) -> Answer:
    body = {
        "title": "UsageCapExceeded",
        "detail": f"Usage cap exceeded: {period} product cap",
        "type": "https://api.twitter.com/2/problems/usage-capped",
        "period": period,
        "scope": "Product",
    }
    return Answer.json(429, body, content_type=_PROBLEM)


def _invalid(name: str, value: str, message: str) -> Answer:
    body = {
        "errors": [{"parameters": {name: [value]}, "message": message}],
        "title": "Invalid Request",
        "detail": "One or more parameters to your request was invalid.",
        "type": "https://api.twitter.com/2/problems/invalid-request",
    }
    return Answer.json(400, body, content_type=_PROBLEM)
