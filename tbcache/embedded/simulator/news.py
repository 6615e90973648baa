"""NewsAPI: everything, on the free plan or a paid one."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tbcache.embedded.simulator import headline, post
from tbcache.embedded.simulator.api import Api, BadParameter, bearer, moment, stamp
from tbcache.embedded.simulator.reply import Call, Reply
from tbcache.embedded.simulator.search import finds, symbols
from tbcache.embedded.simulator.stream import DAY, POPULARITY, Stream
from tbcache.embedded.simulator.window import Arrival

EVERYTHING = "/v2/everything"
HEADLINES = "/v2/top-headlines"
SOURCES = "/v2/sources"
#: On the free plan articles come so late, reach so far back, and are at most so many for a search.
DELAY_SECONDS = DAY
FREE_HISTORY_SECONDS = 31 * DAY
FREE_RESULTS = 100
PAID_HISTORY_SECONDS = 5 * 365 * DAY
#: A search looks at so many of the newest articles only, as five years of a busy symbol would take seconds.
CANDIDATES = 4000

_HALF_DAY = 12 * 3600
_BY_TIME = "publishedAt"
_SORTS = ("relevancy", "popularity", _BY_TIME)
_RELEVANCE, _TITLE = 104, 105
_KNOWN = {
    EVERYTHING: (
        "q", "qInTitle", "searchIn", "sources", "domains", "excludeDomains", "from", "to", "language",
        "sortBy", "pageSize", "page", "apiKey",
    ),
    HEADLINES: (
        "q", "qInTitle", "sources", "country", "category", "language", "pageSize", "page", "apiKey",
    ),
    SOURCES: ("category", "language", "country", "apiKey"),
}  # fmt: skip
_TOO_BROAD = (
    "Required parameters are missing, the scope of your search is too broad. Please set any of the following "
    "required parameters and try again: q, qInTitle, sources, domains."
)
_MESSAGES = {
    400: ("parametersMissing", _TOO_BROAD),
    401: ("apiKeyInvalid", "Your API key is invalid or incorrect. Check your key, or create a free API key."),
    404: ("notFound", "The requested resource could not be found."),
    426: ("maximumResultsReached", "You have requested too many results. Please upgrade to a paid plan."),
    429: ("rateLimited", "You have made too many requests recently. Please wait a while and try again."),
}
_UNEXPECTED = ("unexpectedError", "This shouldn't happen, and if it does then it's our fault, not yours.")
_REMOVED = {
    "source": {"id": None, "name": "[Removed]"},
    "author": None,
    "title": "[Removed]",
    "description": "[Removed]",
    "url": "https://removed.com",
    "urlToImage": None,
    "publishedAt": "1970-01-01T00:00:00Z",
    "content": "[Removed]",
}


class NewsApi(Api):
    """Plans: ``free``, whose articles come 24 h late, and ``paid``."""

    name = "news"
    plans = ("free", "paid")
    per_day = 80.0

    def authorize(self, call: Call, now: float) -> Reply | None:
        key = _key(call)
        if not key:
            message = "Your API key is missing. Send it as the apiKey param or in the X-Api-Key header."
            return _failure(401, "apiKeyMissing", message)
        return None if key == self.credentials["TBCACHE_NEWS__API_KEY"] else self.error(401)

    def answer(self, call: Call, now: float, plan: str) -> Reply:
        handlers = {EVERYTHING: self._everything, HEADLINES: self._headlines, SOURCES: _sources}
        if call.path not in handlers or call.method != "GET":
            return self.error(404)
        try:
            return handlers[call.path](_named(call.params, _KNOWN[call.path]), now, plan)
        except BadParameter as bad:
            return _failure(400, bad.name, bad.message)

    def error(self, status: int) -> Reply:
        return _failure(status, *_MESSAGES.get(status, _UNEXPECTED))

    def refuse(self, arrival: Arrival, now: float) -> Reply:
        limit = arrival.tightest.limit
        if limit.window_seconds < _HALF_DAY:
            return self.error(429)
        message = (
            f"You have made too many requests recently. Developer accounts are limited to {limit.count} "
            f"requests over a {limit.window_seconds / 3600:g} hour period. Please upgrade to a paid plan."
        )
        return _failure(429, "rateLimited", message)

    def quota_exhausted(self, now: float) -> Reply:
        return _failure(429, "apiKeyExhausted", "Your API key has no more requests available.")

    def ids(self, stream: Stream, k: int) -> tuple[str, ...]:
        return (_url(stream, k),)

    def place(self, stream: Stream, k: int) -> str | None:
        return _outlet(stream, k).domain

    def text(self, stream: Stream, k: int) -> str:
        return _written(stream, k)

    def _everything(self, params: Mapping[str, str], now: float, plan: str) -> Reply:
        _check(params)
        page, size = _count(params, "page", 1, None), _count(params, "pageSize", 100, 100)
        if plan == "free" and page * size > FREE_RESULTS:
            return _too_many_results(page, size)
        history = FREE_HISTORY_SECONDS if plan == "free" else PAID_HISTORY_SECONDS
        newest = now - DELAY_SECONDS if plan == "free" else now
        start = _time(params, "from", now - history)
        if start < now - history - DAY:
            return _too_old(now - history, start)
        # `to` is inclusive, and times are in whole seconds.
        end = min(newest, _time(params, "to", newest) + 1)
        found = self._find(params, start, end, now)
        if params.get("sortBy", _BY_TIME) != _BY_TIME:
            found.sort(key=lambda item: item[0].draw(item[1], _RELEVANCE))
        return _listed(found, page, size, now)

    def _headlines(self, params: Mapping[str, str], now: float, plan: str) -> Reply:
        """The articles of the last day, on every plan. All outlets have the same country and category."""
        if not any(params.get(name) for name in _KNOWN[HEADLINES][:6]):
            raise BadParameter(*_MESSAGES[400])
        page, size = _count(params, "page", 1, None), _count(params, "pageSize", 20, 100)
        return _listed(self._find(params, now - DAY, now, now), page, size, now)

    def _find(
        self, params: Mapping[str, str], start: float, end: float, now: float
    ) -> list[tuple[Stream, int]]:
        """The articles that ``params`` ask for, the newest first; without words, those about popular symbols.

        A search compares the words of title and text, so that "AAPL" misses an article that says Apple.
        """
        words = params.get("q") or params.get("qInTitle", "")
        asked = symbols(words) if words else POPULARITY
        newest_first = itertools.islice(self.items(asked, start, max(start, end)), CANDIDATES)
        return [
            (stream, k)
            for stream, k in newest_first
            if post.found_at(stream, k) <= now
            and _is_wanted(stream, k, params)
            and (not words or finds(words, _written(stream, k)))
        ]


def _listed(found: list[tuple[Stream, int]], page: int, size: int, now: float) -> Reply:
    rows = found[(page - 1) * size : page * size]
    body = {
        "status": "ok",
        "totalResults": len(found),
        "articles": [_article(*row, post.is_gone(*row, now)) for row in rows],
    }
    return Reply.page(body, tuple(_url(*row) for row in rows))


def _sources(params: Mapping[str, str], now: float, plan: str) -> Reply:
    """The outlets that have an id."""
    rows = [
        {
            "id": outlet.id,
            "name": outlet.name,
            "description": f"News of the markets by {outlet.name}.",
            "url": f"https://{outlet.domain}",
            "category": "business",
            "language": "en",
            "country": "us",
        }
        for outlet in headline.OUTLETS
        if outlet.id is not None
    ]
    wanted = [name for name in ("category", "language", "country") if params.get(name)]
    found = [row for row in rows if all(row[name] == params[name] for name in wanted)]
    return Reply.json(200, {"status": "ok", "sources": found})


def _named(params: Mapping[str, str], known: Sequence[str]) -> dict[str, str]:
    """The parameters by their documented names. Names in lower case are accepted, as some clients send them.

    Raises:
      BadParameter: a parameter is unknown.
    """
    by_lower = {name.lower(): name for name in known}
    for name in params:
        if name.lower() not in by_lower:
            raise BadParameter("parameterInvalid", f"The parameter '{name}' is not known to this endpoint.")
    return {by_lower[name.lower()]: value for name, value in params.items()}


def _key(call: Call) -> str:
    """The API key, from any place where clients send it; in ``Authorization``, with or without "Bearer"."""
    alone = call.headers.get("authorization", "").strip()
    return call.headers.get("x-api-key") or call.params.get("apiKey") or bearer(call) or alone


def _check(params: Mapping[str, str]) -> None:
    if not any(params.get(name, "").strip() for name in ("q", "qInTitle", "sources", "domains")):
        raise BadParameter(*_MESSAGES[400])
    if len(params.get("q", "")) > 500:
        raise BadParameter("parameterInvalid", "The q parameter can be at most 500 characters long.")
    if len(params.get("sources", "").split(",")) > 20:
        raise BadParameter(
            "sourcesTooMany", "You have requested too many sources in a single request; the most is 20."
        )
    if params.get("sortBy", _BY_TIME) not in _SORTS:
        raise BadParameter("parameterInvalid", f"The sortBy parameter must be one of {', '.join(_SORTS)}.")


def _count(params: Mapping[str, str], name: str, default: int, most: int | None) -> int:
    text = params.get(name, str(default))
    if not text.isdecimal() or int(text) < 1 or (most is not None and int(text) > most):
        bounds = f"between 1 and {most}" if most else "at least 1"
        raise BadParameter("parameterInvalid", f"The {name} parameter must be a whole number, {bounds}.")
    return int(text)


def _time(params: Mapping[str, str], name: str, default: float) -> float:
    if not params.get(name):
        return default
    try:
        return moment(params[name])
    except ValueError:
        message = f"The {name} parameter is not a date or time in ISO 8601, like 2026-01-31T10:00:00."
        raise BadParameter("parameterInvalid", message) from None


def _is_wanted(stream: Stream, k: int, params: Mapping[str, str]) -> bool:
    outlet = _outlet(stream, k)
    sources, domains, excluded = (
        [part.strip() for part in params.get(name, "").split(",") if part.strip()]
        for name in ("sources", "domains", "excludeDomains")
    )
    return (
        (not sources or outlet.id in sources)
        and (not domains or outlet.domain in domains)
        and outlet.domain not in excluded
        and params.get("language") in (None, "", post.language(stream, k))
    )


@functools.lru_cache(maxsize=8192)
def _outlet(stream: Stream, k: int) -> headline.Outlet:
    """The site of item ``k``. A copy of a story is on another site than the story."""
    own = headline.outlet(stream.dice(k))
    if (source := post.repeated(stream, k)) == k:
        return own
    others = [outlet for outlet in headline.OUTLETS if outlet != _outlet(stream, source)]
    return others[k % len(others)]


@functools.lru_cache(maxsize=8192)
def _url(stream: Stream, k: int) -> str:
    about = "-".join(post.symbols(stream, k)).lower() or "story"
    return f"https://{_outlet(stream, k).domain}/{stamp(stream.at(k), '%Y/%m/%d')}/{about}-{k}"


@functools.lru_cache(maxsize=8192)
def _article(stream: Stream, k: int, is_gone: bool) -> msgspec.Raw:
    """Item ``k`` as the API shows it. A removed article stays in the list, with fixed texts and date."""
    if is_gone:
        return msgspec.Raw(msgspec.json.encode(_REMOVED))
    dice = stream.dice(post.repeated(stream, k))
    outlet, url = _outlet(stream, k), _url(stream, k)
    title, lead = _words(stream, k)
    facts: dict[str, Any] = {
        "source": {"id": outlet.id, "name": outlet.name},
        "author": headline.byline(dice),
        "title": title,
        "description": None if dice.random() < 0.1 else lead,
        "url": url,
        "urlToImage": None if dice.random() < 0.3 else f"{url}.jpg",
        "publishedAt": stamp(stream.at(k)),
        "content": None if dice.random() < 0.1 else _cut(f"{title}. {lead} ", dice.randrange(900, 6000)),
    }
    return msgspec.Raw(msgspec.json.encode(facts))


@functools.lru_cache(maxsize=8192)
def _words(stream: Stream, k: int) -> tuple[str, str]:
    """The title and the description of item ``k``."""
    written = post.write(stream, k)
    if not written.symbols:
        return written.text, "Read the whole story on our pages, with pictures and what readers say."
    dice = stream.dice(post.repeated(stream, k), _TITLE)
    title = headline.headline(dice, written.stance, written.symbols, written.lang)
    return title, headline.lead(written.stance, written.symbols[0])


def _written(stream: Stream, k: int) -> str:
    return " ".join(_words(stream, k))


def _cut(text: str, length: int) -> str:
    """The first 200 characters of an article that has ``length`` of them: no plan shows more."""
    whole = text * math.ceil(200 / len(text))
    return f"{whole[:200]}… [+{length - 200} chars]"


def _too_many_results(page: int, size: int) -> Reply:
    message = (
        f"You have requested too many results. Developer accounts are limited to a max of {FREE_RESULTS} "
        f"results. You are trying to request results {(page - 1) * size} to {page * size}. "
        "Please upgrade to a paid plan if you need more results."
    )
    return _failure(426, "maximumResultsReached", message)


def _too_old(oldest: float, asked: float) -> Reply:
    message = (
        "You are trying to request results too far in the past. Your plan permits you to request articles as "
        f"far back as {stamp(oldest, '%Y-%m-%d')}, but you have requested {stamp(asked)}. "
        "You may need to upgrade to a paid plan."
    )
    return _failure(426, "parameterInvalid", message)


def _failure(status: int, code: str, message: str) -> Reply:
    return Reply.json(status, {"status": "error", "code": code, "message": message})
