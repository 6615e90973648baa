"""Reddit: posts and comments of the subreddits that talk of markets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx2

from tbcache.fetch import http_response, rate_hint
from tbcache.fetch.http_response import ErrorMeaning
from tbcache.models import Engagement, FetchRequest, HttpRequest, Item, Page, RawResponse
from tbcache.models.coerce import (
    count,
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
from tbcache.models.error import UpstreamNotFound
from tbcache.models.names import Named, named, quote_words
from tbcache.providers.base import Provider
from tbcache.providers.reddit_token import RedditAuth, refusal
from tbcache.settings import get_settings

LIMIT = 100
#: Characters of a query.
MOST_QUERY = 512
#: A search ends at 220 to 250 posts, as if there were no more; what was removed is missing from them.
DEPTH = 200
_SPANS = ((1, "hour"), (24, "day"), (168, "week"), (720, "month"), (8760, "year"))
_NESTING = 40
_POST, _COMMENT = "t3", "t1"
_GONE = ("[deleted]", "[removed]")
#: Reddit's own robot, which posts daily threads and rules.
_ROBOT = "AutoModerator"
_MOST_SCORE = 1e9


class RedditProvider(Provider):
    """The newest posts that a search for the symbol finds."""

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        hours = (fetch.now(since) - since).total_seconds() / 3600
        if fetch.stretch is not None and fetch.stretch.until is not None:
            # That a listing ends says nothing where it does not begin at its top; what is older does.
            hours += 1
            cursor = fetch.stretch.until_id if cursor is None else cursor
        params = {
            "q": _query(map(_named, fetch.symbols)),
            "restrict_sr": "1",
            "sort": "new",
            "t": next((name for most, name in _SPANS if hours <= most), "all"),
            "limit": str(LIMIT),
            "raw_json": "1",
        }
        if cursor is not None:
            params["after"] = cursor
        subreddits = quote(self.settings.subreddits, safe="+")
        url = f"{self.source.base_url.rstrip('/')}/r/{subreddits}/search"
        return HttpRequest("GET", url, params, {"User-Agent": self.settings.user_agent})

    def search_words(self, symbol: str) -> str:
        return f"{_query([_named(symbol)])} in {self.settings.subreddits}"

    def packs(self, symbols: Sequence[str]) -> tuple[str, ...]:
        """As many as a query has room for."""
        packed = list(symbols[:1])
        for symbol in symbols[1:]:
            if len(_query(map(_named, (*packed, symbol)))) <= MOST_QUERY:
                packed.append(symbol)
        return tuple(packed)

    def is_of(self, item: Item, symbol: str) -> bool:
        """Reddit says of no post which word of a search it was found by. Among those of others most have a
        word like ON in them: of such a symbol are those that mean it."""
        named = _named(symbol)
        return named.is_meant(item.text) if named.is_word else named.stands_in(item.text)

    def recheck(self, ids: Sequence[str]) -> HttpRequest:
        url = f"{self.source.base_url.rstrip('/')}/api/info"
        params = {"id": ",".join(ids), "raw_json": "1"}
        return HttpRequest("GET", url, params, {"User-Agent": self.settings.user_agent})

    def rechecked(self, response: RawResponse) -> Page:
        return self.parse(response)

    def auth(self) -> httpx2.Auth | None:
        return RedditAuth.of(self.source.name, self.settings)

    def parse(self, response: RawResponse) -> Page:
        body = http_response.page(self.source.name, response, _judge)
        if not _is_listing(body):
            raise http_response.unreadable(self.source.name, response, "the answer is no listing")
        listing = record(record(body).get("data"))
        things = unique(_item(kind, data) for kind, data in _things(body) if not _is_pinned(data))
        return Page(
            things,
            next=word(listing.get("after")),
            hints=rate_hint.hints(response),
            exhausted="after" in listing and listing["after"] is None and not http_response.complains(body),
            depth=DEPTH,
        )


def _named(symbol: str) -> Named:
    return named(symbol, get_settings().names)


def _query(symbols: Iterable[Named]) -> str:
    """Posts that name one of ``symbols``, by its letters or by its company's name. Reddit reads no ``$``."""
    return " OR ".join(quote_words(word for symbol in symbols for word in symbol.words))


def _judge(body: Any, response: RawResponse) -> ErrorMeaning | None:
    # A subreddit that does not exist is a redirect to the search for one.
    if 300 <= response.status < 400 and "subreddits/search" in response.headers.get("location", ""):
        return ErrorMeaning(UpstreamNotFound)
    return refusal(body, response)


def _is_listing(body: Any) -> bool:
    """True for a listing, one post or comment, or a list of these, as a page of comments is."""
    parts = body if isinstance(body, list) else [body]
    return bool(parts) and all(_is_thing(record(part)) for part in parts)


def _is_thing(part: dict[str, Any]) -> bool:
    data = record(part.get("data"))
    if part.get("kind") == "Listing":
        return holds_records(data.get("children"))
    return part.get("kind") in (_POST, _COMMENT) and bool(data)


def _things(value: Any, depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every post and comment, replies included; "more" and other kinds are left out."""
    if depth > _NESTING:
        return
    for part in records(value if isinstance(value, list) else [value]):
        kind, data = part.get("kind"), record(part.get("data"))
        if kind == "Listing":
            yield from _things(data.get("children"), depth + 1)
        elif kind in (_POST, _COMMENT) and data:
            yield str(kind), data
            yield from _things(data.get("replies"), depth + 1)


def _is_gone(data: dict[str, Any]) -> bool:
    """True for what was taken down, of which a placeholder is left."""
    is_blanked = any(word(data.get(name)) in _GONE for name in ("selftext", "body"))
    return is_blanked or bool(word(data.get("removed_by_category")))


def _text(kind: str, data: dict[str, Any]) -> str:
    parts = [text(data.get(name)) for name in (("title", "selftext") if kind == _POST else ("body",))]
    return "\n\n".join(filter(None, parts))


def _is_pinned(data: dict[str, Any]) -> bool:
    """True for what stands where it does because a moderator or an advertiser wants it there."""
    return data.get("stickied") is True or data.get("promoted") is True


def _item(kind: str, data: dict[str, Any]) -> Item:
    author, post_id = word(data.get("author")), word(data.get("id"))
    # What is no opinion has no text, so that nothing of it is scored; it is an item all the same, and says
    # how far back the page reaches.
    is_gone, is_robot = _is_gone(data), author == _ROBOT
    written = "" if is_gone or is_robot else _text(kind, data)
    unnamed = (
        f"{kind}_{post_id}" if post_id else fingerprint(kind, author, word(data.get("created_utc")), written)
    )
    return Item(
        word(data.get("name")) or unnamed,
        moment(data.get("created_utc")),
        written,
        author=None if author in _GONE else author,
        kind="notice" if is_robot else "post" if kind == _POST else "comment",
        url=None if (path := word(data.get("permalink"))) is None else f"https://www.reddit.com{path}",
        engagement=_engagement(data),
        origin=word(data.get("crosspost_parent")),
        is_gone=is_gone,
    )


def _engagement(data: dict[str, Any]) -> Engagement:
    score = number(data.get("score"))
    return Engagement(
        likes=None if score is None or abs(score) > _MOST_SCORE else int(score),
        reposts=count(data.get("num_crossposts")),
        replies=count(data.get("num_comments")),
    )
