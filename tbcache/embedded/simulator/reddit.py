"""Reddit over OAuth: the token endpoint, search, listings, and what became of known posts."""

from __future__ import annotations

import base64
import binascii
import hmac
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from tbcache.embedded.simulator import post, submission
from tbcache.embedded.simulator.api import Api, bearer, whole_seconds
from tbcache.embedded.simulator.reply import Call, Reply
from tbcache.embedded.simulator.search import finds, symbols
from tbcache.embedded.simulator.stream import DAY, POPULARITY, Stream, is_known, newest_first, open_stream
from tbcache.embedded.simulator.window import Arrival

TOKEN = "/api/v1/access_token"  # noqa: S105 -- a path, no secret
TOKEN_SECONDS = DAY
INFO = "/api/info"
#: A search ends after about so many posts, whatever the page size; listings go deeper.
SEARCH_DEPTH = 250
LISTING_DEPTH = 1000
#: For each post there are so many comments.
COMMENTS_PER_POST = 4

_SPANS = {"hour": 3600, "day": DAY, "week": 7 * DAY, "month": 30 * DAY, "year": 365 * DAY, "all": 3650 * DAY}
_LISTINGS = ("search", "new", "hot", "top", "comments")
#: By what a listing is ordered. All other listings have the newest item first.
_ORDERS: Mapping[str, Callable[[Stream, int], float]] = {
    "hot": submission.heat,
    "top": submission.score,
    "comments": submission.replies,
    "relevance": lambda stream, k: stream.draw(k, 103),
}
# The best items are chosen from so many of the newest.
_CANDIDATES = 2000
#: The user agents that HTTP libraries send by default.
_LIBRARY_AGENTS = ("python-httpx", "python-requests", "python-urllib", "curl/", "aiohttp", "okhttp", "java/")
_PAGE_429 = """<!doctype html>
<html>
  <head><title>Too Many Requests</title></head>
  <body>
    <h1>whoa there, pardner!</h1>
    <p>too many requests came from you lately; requests that look like those of bots are limited.</p>
    <p>please wait {seconds} second(s) and try again.</p>
  </body>
</html>
"""


Item = tuple[Stream, int]

_ALL = frozenset({"all"})


class RedditApi(Api):
    name = "reddit"
    silent = frozenset({401, 429})
    per_day = 130.0

    def is_counted(self, call: Call) -> bool:
        return call.path != TOKEN

    def authorize(self, call: Call, now: float) -> Reply | None:
        if not _names_itself(call):
            return _too_many_tokens() if call.path == TOKEN else _too_many()
        if call.path == TOKEN:
            return None if self._is_client(call) else self.error(401)
        return None if self._is_valid(bearer(call), now) else self.error(401)

    def answer(self, call: Call, now: float, plan: str) -> Reply:
        if call.path == TOKEN:
            return self._token(call, now)
        path = call.path.removesuffix(".json").rstrip("/")
        if call.method == "GET" and path == INFO:
            return self._info(call.params, now)
        found = _listing(path)
        if found is None or call.method != "GET":
            return self.error(404)
        subreddits, name = found
        if name == "search":
            return self._search(subreddits, call.params, now)
        return self._browse(subreddits, name, call.params, now)

    def ids(self, stream: Stream, k: int) -> tuple[str, ...]:
        return (submission.fullname(stream, k),)

    def place(self, stream: Stream, k: int) -> str | None:
        return submission.subreddit(stream, k)

    def comments(self, symbol: str) -> Stream:
        return open_stream(self.seed, submission.COMMENTS, symbol, self.per_day * COMMENTS_PER_POST)

    def error(self, status: int) -> Reply:
        if status == 429:
            return _too_many()
        if status >= 500:
            # The front servers answer such an error with an empty body.
            return Reply(status, b"", {"content-type": "text/html"})
        if status == 400:
            return Reply.html(400, "<html><body><h1>400 Bad request</h1></body></html>")
        words = {
            401: "Unauthorized",
            403: "Forbidden",
            404: "Not Found",
            451: "Unavailable For Legal Reasons",
        }
        return Reply.json(status, {"message": words.get(status, "Error"), "error": status})

    def refuse(self, arrival: Arrival, now: float) -> Reply:
        return _too_many(max(1, whole_seconds(arrival.tightest.opens_in)))

    def rate_headers(self, arrival: Arrival, now: float) -> Mapping[str, str]:
        reading = arrival.tightest
        return {
            "x-ratelimit-remaining": f"{reading.remaining:.1f}",
            "x-ratelimit-used": str(reading.used),
            "x-ratelimit-reset": str(whole_seconds(reading.opens_in)),
        }

    def _is_client(self, call: Call) -> bool:
        scheme, _, encoded = call.headers.get("authorization", "").partition(" ")
        try:
            login = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        known = self.credentials
        return scheme.lower() == "basic" and login == (
            f"{known['TBCACHE_REDDIT__CLIENT_ID']}:{known['TBCACHE_REDDIT__CLIENT_SECRET']}"
        )

    def _token(self, call: Call, now: float) -> Reply:
        if call.method != "POST":
            return self.error(404)
        if parse_qs(call.body.decode(errors="replace")).get("grant_type") != ["client_credentials"]:
            # reddit answers this failure with status 200.
            return Reply.json(200, {"error": "unsupported_grant_type"})
        until = int(now) + TOKEN_SECONDS
        token = {
            "access_token": self._sign(until),
            "token_type": "bearer",
            "expires_in": TOKEN_SECONDS,
            "scope": "*",
        }
        return Reply.json(200, token)

    def _sign(self, until: int) -> str:
        """A token that has its own end in it, signed. So the simulator stores none, and restarts lose
        none.
        """
        secret = f"{self.seed}:{self.credentials['TBCACHE_REDDIT__CLIENT_SECRET']}".encode()
        return f"{until}.{hmac.digest(secret, str(until).encode(), 'sha256').hex()}"

    def _is_valid(self, token: str, now: float) -> bool:
        until = token.partition(".")[0]
        return (
            until.isdecimal()
            and int(until) > now
            and hmac.compare_digest(token.encode(), self._sign(int(until)).encode())
        )

    def _search(self, subreddits: frozenset[str], params: Mapping[str, str], now: float) -> Reply:
        """The posts that a search finds. Pinned posts are only in the listing ``hot``."""
        where = subreddits if params.get("restrict_sr", "").lower() in ("1", "true", "on") else _ALL
        span = _SPANS.get(params.get("t", "all"), _SPANS["all"])
        query = params.get("q", "")
        matches = (
            (stream, k)
            for stream, k in self.items(symbols(query), now - span, now)
            if post.found_at(stream, k) <= now
            and (post.kind(stream, k) != "lookalike" or finds(query, post.write(stream, k).text))
        )
        order = _ORDERS.get(params.get("sort") or "relevance")
        return _page(_ordered(_within(matches, where), order, SEARCH_DEPTH), params, now)

    def _browse(self, subreddits: frozenset[str], name: str, params: Mapping[str, str], now: float) -> Reply:
        """A listing of the items about popular symbols."""
        span = _SPANS.get(params.get("t", "day"), DAY) if name == "top" else _SPANS["month"]
        if name == "comments":
            streams = [self.comments(symbol) for symbol in POPULARITY]
            items, order = newest_first(streams, now - span, now), None
        else:
            listed = self.items(POPULARITY, now - span, now)
            items, order = (item for item in listed if post.found_at(*item) <= now), _ORDERS.get(name)
        pinned = submission.stickies(now) if name == "hot" and not params.get("after") else []
        return _page(_ordered(_within(items, subreddits), order, LISTING_DEPTH), params, now, pinned)

    def _info(self, params: Mapping[str, str], now: float) -> Reply:
        """Posts and comments by their names, as they are now. Names that never existed are left out."""
        asked = [name for name in params.get("id", "").split(",") if name][:100]
        found = [item for name in asked if (item := self._find(name, now)) is not None]
        rows = [submission.show(*item, params.get("raw_json") != "1", now) for item in found]
        return _listed(rows, found, None)

    def _find(self, name: str, now: float) -> Item | None:
        kind, _, id_ = name.partition("_")
        place = submission.place(id_)
        if place is None or kind not in ("t1", "t3") or not place[1] or not is_known(place[1]):
            return None
        at, symbol = place
        stream = self.comments(symbol) if kind == "t1" else self.stream(symbol)
        k = stream.first_from(at)
        return (stream, k) if stream.at(k) == at and post.found_at(stream, k) < now else None


def _within(items: Iterator[Item], subreddits: frozenset[str]) -> Iterator[Item]:
    return (
        item for item in items if "all" in subreddits or submission.subreddit(*item).lower() in subreddits
    )


def _ordered(items: Iterator[Item], order: Callable[[Stream, int], float] | None, depth: int) -> list[Item]:
    if order is None:
        return list(itertools.islice(items, depth))
    candidates = list(itertools.islice(items, _CANDIDATES))
    return sorted(candidates, key=lambda item: order(*item), reverse=True)[:depth]


def _page(
    found: list[Item], params: Mapping[str, str], now: float, pinned: Sequence[dict[str, Any]] = ()
) -> Reply:
    """One page of a listing. Pinned posts come in addition to a full page: 102 posts where 100 were asked
    for.
    """
    limit = min(100, int(text)) if (text := params.get("limit", "")).isdecimal() and int(text) else 25
    rest = found[_start(found, params.get("after", "")) :]
    page = rest[:limit]
    rows = [*pinned, *(submission.show(*item, params.get("raw_json") != "1", now) for item in page)]
    return _listed(rows, page, submission.fullname(*page[-1]) if len(rest) > limit else None)


def _listed(rows: list[Any], page: list[Item], after: str | None) -> Reply:
    data = {
        "after": after,
        "dist": len(rows),
        "modhash": None,
        "geo_filter": "",
        "children": rows,
        "before": None,
    }
    return Reply.page({"kind": "Listing", "data": data}, tuple(submission.fullname(*item) for item in page))


def _names_itself(call: Call) -> bool:
    agent = call.headers.get("user-agent", "").lower()
    return bool(agent) and not agent.startswith(_LIBRARY_AGENTS)


def _too_many_tokens() -> Reply:
    """The 429 of the token endpoint, which has no hint when to come back."""
    return Reply.json(429, {"message": "Too Many Requests", "error": 429})


def _too_many(seconds: int = 4) -> Reply:
    return Reply.html(429, _PAGE_429.format(seconds=seconds)).with_headers({"retry-after": str(seconds)})


def _listing(path: str) -> tuple[frozenset[str], str] | None:
    """The subreddits in ``/r/a+b/new``, in lower case, and the listing; None where there is no such
    listing.
    """
    parts = path.strip("/").split("/")
    if len(parts) == 1 and parts[0] in _LISTINGS:
        return _ALL, parts[0]
    if len(parts) != 3 or parts[0] != "r" or parts[2] not in _LISTINGS or parts[1].lower().startswith("zzz"):
        return None
    return frozenset(parts[1].lower().split("+")), parts[2]


def _start(found: list[Item], after: str) -> int:
    """The index at which the page after ``after`` begins: behind it, or where its time would place it."""
    if not after:
        return 0
    names = [submission.fullname(*item) for item in found]
    if after in names:
        return names.index(after) + 1
    at, _ = submission.place(after.partition("_")[2]) or (0, "")
    return next((i for i, (stream, k) in enumerate(found) if stream.at(k) < at), len(found))
