"""NewsAPI: articles that name a symbol."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import httpx2

from tbcache.fetch import http_response, http_time, rate_hint
from tbcache.fetch.http_response import ErrorMeaning
from tbcache.models import FetchRequest, HttpRequest, Item, Page, RawResponse
from tbcache.models.coerce import (
    fingerprint,
    holds_records,
    moment,
    number,
    record,
    records,
    text,
    unique,
    word,
)
from tbcache.models.error import (
    UpstreamAuthError,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamNotEntitled,
    UpstreamQuotaExhausted,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from tbcache.models.language import spoken
from tbcache.models.names import named
from tbcache.providers.base import Provider
from tbcache.providers.client import HeaderAuth
from tbcache.settings import get_settings

LIMIT = 100
#: The languages of articles, of which a request may ask for one (https://newsapi.org/docs/endpoints/everything).
LANGUAGES = frozenset(["ar", "de", "en", "es", "fr", "he", "it", "nl", "no", "pt", "ru", "sv", "ud", "zh"])
_REMOVED = "[removed]"
_PER_DAY = re.compile(r"\b(12|24)[ -]?h|\b(?:per|a|each) day\b|\bdaily\b|\btoday\b")
_PER_MONTH = re.compile(r"\b(?:per|a|each|this) month\b|\bmonthly\b")
_CODES: dict[str, type[UpstreamError]] = {
    "apiKeyMissing": UpstreamAuthError,
    "apiKeyInvalid": UpstreamAuthError,
    "apiKeyDisabled": UpstreamAuthError,
    "apiKeyExhausted": UpstreamQuotaExhausted,
    "rateLimited": UpstreamThrottled,
    "maximumResultsReached": UpstreamNotEntitled,
    "corsNotAllowed": UpstreamNotEntitled,
    "unexpectedError": UpstreamUnavailable,
}


class NewsProvider(Provider):
    """Articles in one language, newest first: the first of the settings' that NewsAPI has."""

    def search_words(self, symbol: str) -> str:
        return f"{self._query(symbol)} in {self._language}, {self.settings.domains or 'all sites'}"

    def _query(self, symbol: str) -> str:
        return named(symbol, get_settings().names).query

    @property
    def _language(self) -> str:
        return next((one for one in spoken(get_settings().languages) if one in LANGUAGES), "en")

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        params = {
            "q": self._query(fetch.symbol),
            "from": _iso(since),
            "language": self._language,
            "sortBy": "publishedAt",
            "pageSize": str(LIMIT),
        }
        if self.settings.domains is not None:
            params["domains"] = self.settings.domains
        # The next page is asked for by time: plans answer 426 past result 100, and new articles shift pages.
        if cursor is not None:
            params["to"] = cursor
        elif fetch.until is not None:
            params["to"] = _iso(fetch.until)
        url = f"{self.source.base_url.rstrip('/')}/v2/everything"
        return HttpRequest("GET", url, params, {"User-Agent": self.settings.user_agent})

    def auth(self) -> httpx2.Auth | None:
        return HeaderAuth.of("TBCACHE_NEWS__API_KEY", self.settings.api_key, "X-Api-Key")

    def parse(self, response: RawResponse) -> Page:
        body = record(http_response.page(self.source.name, response, _judge))
        if not holds_records(body.get("articles")):
            raise http_response.unreadable(self.source.name, response, "the answer holds no articles")
        articles = records(body["articles"])
        found = (_item(article, self._language) for article in articles if _is_article(article))
        items = unique(found)
        removed = sum(not _is_article(article) for article in articles)
        total = number(body.get("totalResults"))
        return Page(
            items,
            next=_before(items) if total is not None and total > len(articles) else None,
            total=None if total is None else int(total),
            hints=rate_hint.hints(response),
            # A total that does not fit what came says nothing. An article that comes many times is one.
            exhausted=total is not None and total == len(items) + removed,
        )


def _judge(body: Any, response: RawResponse) -> ErrorMeaning | None:
    """Tell a quota from a window, and name the error of a 200 that is one."""
    code = record(body).get("code")
    if record(body).get("status") != "error" or not isinstance(code, str):
        return None
    words = (word(record(body).get("message")) or "").lower()
    if code == "apiKeyExhausted" or (code == "rateLimited" and _is_quota(words)):
        return ErrorMeaning(UpstreamQuotaExhausted, _renewal(words, response))
    return ErrorMeaning(_CODES.get(code, UpstreamBadRequest)) if response.status == 200 else None


def _is_quota(words: str) -> bool:
    return any(period.search(words) for period in (_PER_DAY, _PER_MONTH))


def _renewal(words: str, response: RawResponse) -> datetime | None:
    """When there is certainly some quota again: by the shortest period that is named, as no header says."""
    if asked := http_time.retry_after(response):
        return asked
    if periods := [int(hours or 24) for hours in _PER_DAY.findall(words)]:
        return http_time.after(response, min(periods) * 3600)
    return http_time.renewal(response, http_time.next_month) if _PER_MONTH.search(words) else None


def _is_article(article: dict[str, Any]) -> bool:
    """False for what NewsAPI has taken back: it stands in the list as ``[Removed]`` of 1970."""
    stated = [found for name in ("title", "description", "url") if (found := word(article.get(name)))]
    return bool(stated) and stated[0].lower() != _REMOVED


def _item(article: dict[str, Any], language: str) -> Item:
    title, at = text(article.get("title")), moment(article.get("publishedAt"))
    written = "\n\n".join(filter(None, (title, text(article.get("description")))))
    return Item(
        word(article.get("url")) or fingerprint(title, word(article.get("publishedAt"))),
        at,
        written,
        author=word(article.get("author")),
        kind="article",
        url=word(article.get("url")),
        lang=language,
    )


def _before(items: tuple[Item, ...]) -> str | None:
    """Where the next page starts: at the last article, whose second may hold more of them.

    A page that lies within one second starts the next one a second earlier, or
    it would be asked for for ever.
    """
    times = [item.at for item in items if item.at is not None]
    if not times:
        return None
    stuck = len(times) > 1 and min(times) == max(times)
    return _iso(times[-1] - timedelta(seconds=1) if stuck else times[-1])


def _iso(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
