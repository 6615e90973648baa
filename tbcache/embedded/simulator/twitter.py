"""X API v2: recent search and recent counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from tbcache.embedded.simulator import base36, post, tweet, x_field, x_query
from tbcache.embedded.simulator.api import Api, BadParameter, bearer, moment, stamp, whole_seconds
from tbcache.embedded.simulator.chatter import Person
from tbcache.embedded.simulator.reply import Call, Reply
from tbcache.embedded.simulator.search import has_cashtag_operator, symbols
from tbcache.embedded.simulator.stream import CROWD, DAY, POPULARITY, Stream
from tbcache.embedded.simulator.window import Arrival, FixedWindow

SEARCH = "/2/tweets/search/recent"
COUNTS = "/2/tweets/counts/recent"
LOOKUP = "/2/tweets"
MOST_IDS = 100
COUNTS_PRICE = 0.005
WEEK = 7 * DAY

_PROBLEM = "application/problem+json"
_TOKEN_PREFIX = "b26v89c19zqg8o3f"  # noqa: S105 -- a page token, no secret
_GRANULARITY = {"minute": 60, "hour": 3600, "day": DAY}
_TITLES = {
    400: "Invalid Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found Error",
    429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip


Item = tuple[Stream, int]


class TwitterApi(Api):
    """The plans are ``pro``, and ``basic``, which has no cashtag operator."""

    name = "twitter"
    plans = ("pro", "basic")
    per_day = 600.0
    window = FixedWindow

    def authorize(self, call: Call, now: float) -> Reply | None:
        if bearer(call) == self.credentials["TBCACHE_TWITTER__BEARER_TOKEN"]:
            return None
        return self.error(401)

    def answer(self, call: Call, now: float, plan: str) -> Reply:
        handlers = {SEARCH: self._search, COUNTS: self._counts, LOOKUP: self._lookup}
        if call.path not in handlers or call.method != "GET":
            return self.error(404)
        try:
            return handlers[call.path](call.params, now, plan)
        except BadParameter as bad:
            return _invalid(bad.name, call.params.get(bad.name, ""), bad.message)

    def error(self, status: int) -> Reply:
        if status == 402:
            detail = "Your account has no credits left to fulfill this request."
            return _problem(402, "CreditsDepleted", detail, "https://api.twitter.com/2/problems/credits")
        if status == 403:
            detail = "Your client app is not enrolled with the appropriate level of API access."
            kind = "https://api.twitter.com/2/problems/client-forbidden"
            return _problem(403, "Client Forbidden", detail, kind, reason="client-not-enrolled")
        title = _TITLES.get(status, "Service Unavailable")
        return _problem(status, title, title)

    def refuse(self, arrival: Arrival, now: float) -> Reply:
        if arrival.tightest.limit.window_seconds >= DAY:
            return _usage_capped("Daily")
        return self.error(429)

    def quota_exhausted(self, now: float) -> Reply:
        return _usage_capped("Monthly")

    def rate_headers(self, arrival: Arrival, now: float) -> Mapping[str, str]:
        reading = arrival.tightest
        return {
            "x-rate-limit-limit": str(reading.limit.count),
            "x-rate-limit-remaining": str(reading.remaining),
            "x-rate-limit-reset": str(whole_seconds(now + reading.opens_in)),
        }

    def _search(self, params: Mapping[str, str], now: float, plan: str) -> Reply:
        x_field.check(params, x_field.SEARCH_PARAMS)
        limit = _max_results(params)
        found = list(itertools.islice(self._matches(params, now, plan), limit + 1))
        return _page(found[:limit], params, now, has_more=len(found) > limit)

    def _counts(self, params: Mapping[str, str], now: float, plan: str) -> Reply:
        x_field.check(params, x_field.COUNTS_PARAMS)
        size = _GRANULARITY.get(params.get("granularity", "hour"))
        if size is None:
            raise BadParameter(
                "granularity", "The `granularity` query parameter is not one of [minute,hour,day]"
            )
        start, end = _span(params, now)
        times = sorted(tweet.moment_of(tweet.number(*item, now)) for item in self._matches(params, now, plan))
        body = {"data": _buckets(times, start, end, size), "meta": {"total_tweet_count": len(times)}}
        answer = Reply.json(200, body)
        return Reply(200, answer.body, answer.headers, cost=COUNTS_PRICE)

    def _lookup(self, params: Mapping[str, str], now: float, plan: str) -> Reply:
        """Posts by their ids, and an error for each that is gone.

        An id does not name its symbol. So only posts about popular symbols are found; others are left out.
        """
        x_field.check(params, x_field.LOOKUP_PARAMS)
        asked = list(dict.fromkeys(params.get("ids", "").split(",")))
        if len(asked) > MOST_IDS or not all(id.isdecimal() and len(id) <= 19 for id in asked):
            raise BadParameter("ids", f"The `ids` query parameter value takes 1 to {MOST_IDS} ids")
        found = {id: item for id in asked if (item := self._find(int(id), now)) is not None}
        there = {id: item for id, item in found.items() if not post.is_gone(*item, now)}
        fields = x_field.tweet_fields(params)
        rows = [tweet.show(*item, fields, now) for item in there.values()]
        errors = [_missing(id, "ids") for id in found if id not in there]
        body = {**({"data": rows} if rows else {}), **({"errors": errors} if errors else {})}
        return Reply.page(body, tuple(there))

    def _find(self, number: int, now: float) -> Item | None:
        at = tweet.moment_of(number)
        streams = [self.stream(name) for name in (*POPULARITY, CROWD)]
        for stream in (one for one in streams if one.salt & 0x3FFFFF == number & 0x3FFFFF):
            for k in stream.between(at - post.EDIT_SECONDS, min(at + 1, now)):
                if number in tweet.versions(stream, k):
                    return stream, k
        return None

    def ids(self, stream: Stream, k: int) -> tuple[str, ...]:
        return tuple(map(str, tweet.versions(stream, k)))

    def _matches(self, params: Mapping[str, str], now: float, plan: str) -> Iterator[Item]:
        """Every post that the query finds, the newest first."""
        query = _query(params, plan)
        test = _test(query)
        start, end = _span(params, now)
        since, until = _id(params, "since_id", now), _until(params)
        if until is not None:
            end = min(end, tweet.moment_of(until) + 1)

        def number(stream: Stream, k: int) -> int:
            return tweet.number(stream, k, now)

        # An edit gives a post a later id, which may be within the span.
        for stream, k in self.items(_symbols(query), start - post.EDIT_SECONDS, max(start, end), number):
            own = number(stream, k)
            if own <= since:
                return
            is_inside = start <= tweet.moment_of(own) < end and (until is None or own < until)
            if is_inside and post.is_there(stream, k, now) and test(tweet.subject(stream, k)):
                yield stream, k


def _symbols(query: str) -> tuple[str, ...]:
    """The symbols whose posts are searched: those that the query names, or else the popular ones as well."""
    named = symbols(query)
    is_plain = "$" in query or any(word.isupper() for word in named if word in query)
    return named if is_plain else (*named, *POPULARITY)


def _test(query: str) -> x_query.Test:
    try:
        return x_query.read(query)
    except x_query.BadQuery as bad:
        raise BadParameter("query", str(bad)) from None


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
    """The time that is searched, from ``start_time`` (inclusive) to ``end_time`` (exclusive)."""
    oldest = now - WEEK
    start = oldest
    # X ignores start_time where there is a since_id.
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
    if name == "since_id" and name in params and tweet.moment_of(int(text)) < int(now - WEEK):
        message = f"'since_id' must be a tweet id created after {stamp(now - WEEK)}. Please use a larger id."
        raise BadParameter(name, message)
    return int(text)


def _until(params: Mapping[str, str]) -> int | None:
    """The id below which posts are searched: ``until_id``, or the one that ``next_token`` encodes."""
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


def _page(page: list[Item], params: Mapping[str, str], now: float, *, has_more: bool) -> Reply:
    ids = tuple(str(tweet.number(*item, now)) for item in page)
    if not ids:
        # X leaves the key `data` out, where there is no post.
        return Reply.page({"meta": {"result_count": 0}}, ())
    fields = x_field.tweet_fields(params)
    rows = [tweet.show(*item, fields, now) for item in page]
    if params.get("sort_order") == "relevancy":
        rows.reverse()
    meta: dict[str, Any] = {"newest_id": ids[0], "oldest_id": ids[-1], "result_count": len(ids)}
    if has_more:
        meta["next_token"] = _TOKEN_PREFIX + base36.encode(int(ids[-1]))
    more = _Includes(page, params, now)
    return Reply.page({"data": rows, **more.as_data(fields), "meta": meta}, ids + more.ids, more.user_ids)


class _Includes:
    """The posts and users that expansions add to a page, each once, and an error for each that is gone."""

    def __init__(self, page: list[Item], params: Mapping[str, str], now: float) -> None:
        self._expansions = frozenset(x_field.listed(params, "expansions"))
        self._user_fields = params.get("user.fields", "")
        self._now = now
        referred = list(dict.fromkeys(_referred(page))) if self._has("referenced_tweets.id") else []
        self._posts = [item for item in referred if not post.is_gone(*item, now)]
        self._gone = [item for item in referred if post.is_gone(*item, now)]
        self._people = tuple(dict.fromkeys(self._named(page)))
        self.ids = tuple(str(tweet.number(*item, now)) for item in self._posts)
        self.user_ids = tuple(tweet.author_id(person) for person in self._people)

    def as_data(self, fields: tuple[str, ...]) -> dict[str, Any]:
        includes: dict[str, Any] = {}
        if self._people:
            includes["users"] = tweet.users(self._people, self._user_fields)
        if self._posts:
            includes["tweets"] = [tweet.show(*item, fields, self._now) for item in self._posts]
        errors = [_missing(str(tweet.versions(*item)[-1])) for item in self._gone]
        return {**({"includes": includes} if includes else {}), **({"errors": errors} if errors else {})}

    def _has(self, name: str) -> bool:
        return any(each == name or each.startswith(f"{name}.") for each in self._expansions)

    def _named(self, page: list[Item]) -> Iterator[Person]:
        if "author_id" in self._expansions:
            yield from (post.author(*item) for item in page)
        if "referenced_tweets.id.author_id" in self._expansions:
            yield from (post.author(*item) for item in self._posts)
        if "in_reply_to_user_id" in self._expansions:
            answers = [item for item in page if post.kind(*item) == "reply"]
            yield from (post.author(*item) for item in _referred(answers))


def _referred(page: list[Item]) -> Iterator[Item]:
    for stream, k in page:
        of = post.origin(stream, k)
        if of is not None and post.kind(stream, k) != "copy":
            yield stream, of


def _missing(number: str, parameter: str = "referenced_tweets.id") -> dict[str, str]:
    return {
        "value": number,
        "detail": f"Could not find tweet with {parameter}: [{number}].",
        "title": "Not Found Error",
        "resource_type": "tweet",
        "parameter": parameter,
        "resource_id": number,
        "type": "https://api.twitter.com/2/problems/resource-not-found",
    }


def _buckets(times: list[float], start: float, end: float, size: int) -> list[dict[str, Any]]:
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


def _problem(status: int, title: str, detail: str, kind: str = "about:blank", **more: str) -> Reply:
    body = {"title": title, "detail": detail, "type": kind, "status": status, **more}
    return Reply.json(status, body, content_type=_PROBLEM)


def _usage_capped(period: str) -> Reply:
    body = {
        "title": "UsageCapExceeded",
        "detail": f"Usage cap exceeded: {period} product cap",
        "type": "https://api.twitter.com/2/problems/usage-capped",
        "period": period,
        "scope": "Product",
    }
    return Reply.json(429, body, content_type=_PROBLEM)


def _invalid(name: str, value: str, message: str) -> Reply:
    body = {
        "errors": [{"parameters": {name: [value]}, "message": message}],
        "title": "Invalid Request",
        "detail": "One or more parameters to your request was invalid.",
        "type": "https://api.twitter.com/2/problems/invalid-request",
    }
    return Reply.json(400, body, content_type=_PROBLEM)
