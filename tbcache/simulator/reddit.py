"""Reddit over OAuth: the token endpoint and search."""

from __future__ import annotations

import base64
import binascii
import functools
import hmac
import html
import itertools
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from tbcache.simulator import base36, chatter
from tbcache.simulator.answer import Answer, Call
from tbcache.simulator.dialect import Dialect, bearer, stamp, whole_seconds
from tbcache.simulator.query import symbols
from tbcache.simulator.stream import DAY, Stream
from tbcache.simulator.window import Arrival

TOKEN = "/api/v1/access_token"  # noqa: S105 -- a path, no secret
TOKEN_SECONDS = DAY
#: About as deep as search goes, however one pages.
DEPTH = 250
STICKIES = 2

_SPANS = {"hour": 3600, "day": DAY, "week": 7 * DAY, "month": 30 * DAY, "year": 365 * DAY, "all": 3650 * DAY}
_SUBREDDITS = (
    "wallstreetbets", "wallstreetbets", "wallstreetbets", "stocks", "stocks",
    "investing", "options", "StockMarket", "pennystocks", "Daytrading",
)  # fmt: skip
#: What HTTP libraries call themselves when nobody told them otherwise.
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


class RedditDialect(Dialect):
    name = "reddit"
    silent = frozenset({401, 429})
    per_day = 130.0

    def is_counted(self, call: Call) -> bool:
        return call.path != TOKEN

    def authorize(self, call: Call, now: float) -> Answer | None:
        if not _names_itself(call):
            return _too_many_tokens() if call.path == TOKEN else _too_many()
        if call.path == TOKEN:
            return None if self._is_client(call) else self.error(401)
        return None if self._is_valid(bearer(call), now) else self.error(401)

    def answer(self, call: Call, now: float, plan: str) -> Answer:
        if call.path == TOKEN:
            return self._token(call, now)
        subreddits = _subreddits(call.path)
        if subreddits is None or call.method != "GET":
            return self.error(404)
        return self._search(subreddits, call.params, now)

    def error(self, status: int) -> Answer:
        if status == 429:
            return _too_many()
        if status >= 500:
            # Its front servers answer for it, with nothing.
            return Answer(status, b"", {"content-type": "text/html"})
        if status == 400:
            return Answer.html(400, "<html><body><h1>400 Bad request</h1></body></html>")
        words = {
            401: "Unauthorized",
            403: "Forbidden",
            404: "Not Found",
            451: "Unavailable For Legal Reasons",
        }
        return Answer.json(status, {"message": words.get(status, "Error"), "error": status})

    def refuse(self, arrival: Arrival, now: float) -> Answer:
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

    def _token(self, call: Call, now: float) -> Answer:
        if call.method != "POST":
            return self.error(404)
        if parse_qs(call.body.decode(errors="replace")).get("grant_type") != ["client_credentials"]:
            # A failure, and yet a 200.
            return Answer.json(200, {"error": "unsupported_grant_type"})
        until = int(now) + TOKEN_SECONDS
        token = {
            "access_token": self._sign(until),
            "token_type": "bearer",
            "expires_in": TOKEN_SECONDS,
            "scope": "*",
        }
        return Answer.json(200, token)

    def _sign(self, until: int) -> str:
        """A token that says itself how long it is good for: nothing to remember, and a restart loses none."""
        secret = f"{self.seed}:{self.credentials['TBCACHE_REDDIT__CLIENT_SECRET']}".encode()
        return f"{until}.{hmac.digest(secret, str(until).encode(), 'sha256').hex()}"

    def _is_valid(self, token: str, now: float) -> bool:
        until = token.partition(".")[0]
        return (
            until.isdecimal()
            and int(until) > now
            and hmac.compare_digest(token.encode(), self._sign(int(until)).encode())
        )

    def _search(self, subreddits: frozenset[str], params: Mapping[str, str], now: float) -> Answer:
        limit = min(100, int(text)) if (text := params.get("limit", "")).isdecimal() and int(text) else 25
        escaped = params.get("raw_json") != "1"
        found = list(itertools.islice(self._matches(subreddits, params, now), DEPTH))
        rest = found[_start(found, params.get("after", "")) :]
        page = rest[:limit]
        children: list[Any] = [_link(stream, k, escaped) for stream, k in page]
        if len(page) == limit == 100 and not params.get("after"):
            # What moderators pinned rides on top of a full page: 102 where 100 were asked for.
            children = [*_stickies(now), *children]
        after = _fullname(*page[-1]) if len(rest) > limit else None
        data = {
            "after": after,
            "dist": len(children),
            "modhash": None,
            "geo_filter": "",
            "children": children,
            "before": None,
        }
        return Answer.page(
            {"kind": "Listing", "data": data}, tuple(_fullname(stream, k) for stream, k in page)
        )

    def _matches(
        self, subreddits: frozenset[str], params: Mapping[str, str], now: float
    ) -> Iterator[tuple[Stream, int]]:
        span = _SPANS.get(params.get("t", "all"), _SPANS["all"])
        for stream, k in self.items(symbols(params.get("q", "")), now - span, now):
            if "all" in subreddits or _subreddit(stream, k).lower() in subreddits:
                yield stream, k


def _names_itself(call: Call) -> bool:
    agent = call.headers.get("user-agent", "").lower()
    return bool(agent) and not agent.startswith(_LIBRARY_AGENTS)


def _too_many_tokens() -> Answer:
    """Without a hint when to come back."""
    return Answer.json(429, {"message": "Too Many Requests", "error": 429})


def _too_many(seconds: int = 4) -> Answer:
    return Answer.html(429, _PAGE_429.format(seconds=seconds)).with_headers({"retry-after": str(seconds)})


def _subreddits(path: str) -> frozenset[str] | None:
    """The subreddits of ``/r/a+b/search``, in lower case; None for any other path or an unknown subreddit."""
    parts = path.removesuffix(".json").strip("/").split("/")
    if parts == ["search"]:
        return frozenset({"all"})
    if len(parts) != 3 or parts[0] != "r" or parts[2] != "search" or parts[1].lower().startswith("zzz"):
        return None
    return frozenset(parts[1].lower().split("+"))


def _subreddit(stream: Stream, k: int) -> str:
    return _SUBREDDITS[(stream.salt + k * 31) % len(_SUBREDDITS)]


def _start(found: list[tuple[Stream, int]], after: str) -> int:
    """Where the page behind ``after`` begins; ids order by time, so a vanished one does no harm."""
    if not after:
        return 0
    number = base36.decode(after.partition("_")[2]) or 0
    return next((i for i, (stream, k) in enumerate(found) if _number(stream, k) < number), len(found))


def _number(stream: Stream, k: int) -> int:
    return stream.at(k) * 1000 + stream.salt % 1000


@functools.lru_cache(maxsize=8192)
def _fullname(stream: Stream, k: int) -> str:
    return f"t3_{base36.encode(_number(stream, k))}"


@functools.lru_cache(maxsize=8192)
def _link(stream: Stream, k: int, escaped: bool) -> orjson.Fragment:
    """Post ``k`` as JSON; ``escaped`` unless the caller asked for ``raw_json=1``."""
    dice = stream.dice(k)
    at = stream.at(k)
    price = chatter.price(stream, at)
    view = chatter.stance(dice, stream.mood(at))
    title = chatter.post(dice, view, stream.symbol, price)
    body = chatter.body(dice, view, stream.symbol, price) if dice.random() < 0.6 else ""
    author: str | None = chatter.person(dice).username
    gone = dice.random()
    if gone < 0.05:
        author, body = (None, "") if gone < 0.01 else ("[deleted]", "[removed]")
    text = html.escape if escaped else str
    facts = {
        **_envelope(base36.encode(_number(stream, k)), _subreddit(stream, k), at),
        "title": text(title),
        "selftext": text(body),
        "author": author,
        "score": dice.randrange(400),
        "ups": dice.randrange(400),
        "upvote_ratio": round(0.5 + dice.random() / 2, 2),
        "num_comments": dice.randrange(120),
        "stickied": False,
    }
    return orjson.Fragment(orjson.dumps({"kind": "t3", "data": facts}))


def _envelope(id_: str, subreddit: str, at: int) -> dict[str, Any]:
    permalink = f"/r/{subreddit}/comments/{id_}/post/"
    return {
        "id": id_,
        "name": f"t3_{id_}",
        "subreddit": subreddit,
        "subreddit_name_prefixed": f"r/{subreddit}",
        "created_utc": float(at),
        "created": float(at),
        "edited": False,
        "is_self": True,
        "over_18": False,
        "link_flair_text": "Discussion",
        "permalink": permalink,
        "url": f"https://www.reddit.com{permalink}",
    }


def _stickies(now: float) -> list[dict[str, Any]]:
    """The two threads that moderators open every day at 11:00 UTC."""
    day = int((now - 11 * 3600) // DAY) * DAY + 11 * 3600
    titles = (f"Daily Discussion Thread for {stamp(day, '%B %d, %Y')}", "Rules: read them before you post")
    return [_sticky(title, day - i * 60) for i, title in enumerate(titles[:STICKIES])]


def _sticky(title: str, at: int) -> dict[str, Any]:
    facts = {
        **_envelope(base36.encode(at * 1000), "wallstreetbets", at),
        "title": title,
        "selftext": "",
        "author": "AutoModerator",
        "score": 90,
        "num_comments": 4000,
        "stickied": True,
        "distinguished": "moderator",
    }
    return {"kind": "t3", "data": facts}
