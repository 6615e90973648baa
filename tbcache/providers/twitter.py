"""X API v2: posts with a cashtag."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import httpx2

from tbcache.fetch import http_response, http_time, rate_hint
from tbcache.fetch.http_response import ErrorMeaning
from tbcache.io.log import get_logger
from tbcache.models import Engagement, FetchRequest, HttpRequest, Item, Kind, Page, RawResponse
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
from tbcache.models.error import (
    UpstreamAuthError,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamNotEntitled,
    UpstreamNotFound,
    UpstreamPayloadError,
    UpstreamQuotaExhausted,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from tbcache.models.language import spoken
from tbcache.models.names import has_cashtag
from tbcache.providers.base import Provider
from tbcache.providers.client import HeaderAuth
from tbcache.providers.twitter_counts import PATH as COUNTS_PATH
from tbcache.providers.twitter_counts import PostCounts
from tbcache.settings import get_settings

log = get_logger("tbcache.providers")

LIMIT = 100
#: Of posts with a cashtag 58% are retweets and 16% are not in English, and each is billed.
FILTER = "-is:retweet"
FIELDS = "created_at,author_id,lang,referenced_tweets,public_metrics,note_tweet,entities"
#: Characters of a query.
MOST_QUERY = 512
#: The form of a cashtag on X.
_CASHTAG = re.compile(r"[A-Z]{1,6}(?:\.[A-Z]{1,2})?")
#: X's own words for a plan without the operator. Other refusals quote the query, cashtags included.
_NO_CASHTAGS = re.compile(r"\binvalid operator '\$?cashtag'", re.IGNORECASE)
#: A plan may have later what it lacks today: the cashtag is tried again after so long.
PLAIN_SECONDS = 3600.0
# The cursor of a query that starts again in other words.
_AGAIN = "without-cashtags"
_EMPTY = b'{"meta":{"result_count":0,"next_token":"%s"}}' % _AGAIN.encode()
# A start_time that is 7 days old when it is written is older, and refused, when it arrives.
_OLDEST = timedelta(days=7) - timedelta(minutes=1)
_MILLISECOND = timedelta(milliseconds=1)
_MINUTE = timedelta(minutes=1)
_FIRST_ID = datetime.fromtimestamp(1_288_834_974.657, UTC)
_QUOTAS = frozenset(("usage-capped", "usagecapexceeded", "credits", "creditsdepleted"))
#: Problems of one post or user that an answer refers to.
_WITHHELD = frozenset(
    ("resource-not-found", "not-authorized-for-resource", "resource-unavailable", "not found error")
)
_KINDS: dict[str, Kind] = {"retweeted": "repost", "quoted": "quote", "replied_to": "reply"}
_PROBLEMS: dict[str, type[UpstreamError]] = {
    "not-authorized-for-resource": UpstreamNotEntitled,
    "not-authorized-for-field": UpstreamNotEntitled,
    "disallowed-resource": UpstreamNotEntitled,
    "client-forbidden": UpstreamNotEntitled,
    "resource-not-found": UpstreamNotFound,
    "resource-unavailable": UpstreamNotFound,
    "invalid-request": UpstreamBadRequest,
    "unsupported-authentication": UpstreamAuthError,
    "rate-limit-exceeded": UpstreamThrottled,
    "operational-disconnect": UpstreamUnavailable,
    "streaming-connection": UpstreamUnavailable,
    "authorization error": UpstreamNotEntitled,
    "forbidden": UpstreamNotEntitled,
    "not found error": UpstreamNotFound,
    "invalid request": UpstreamBadRequest,
    "unauthorized": UpstreamAuthError,
    "too many requests": UpstreamThrottled,
    "service unavailable": UpstreamUnavailable,
}


class TwitterProvider(Provider):
    """Recent posts that name a symbol by its cashtag."""

    #: Until when (monotonic) words are asked for in the place of cashtags, which the plan has refused.
    _plain_until = 0.0

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        params = {
            "query": self._query(fetch.symbols),
            **_span(fetch, since),
            "max_results": str(LIMIT),
            # No expansion is asked for: each user in an answer is billed at twice the price of a post.
            "tweet.fields": FIELDS,
        }
        if cursor not in (None, _AGAIN):
            params["next_token"] = str(cursor)
        url = f"{self.source.base_url.rstrip('/')}/2/tweets/search/recent"
        return HttpRequest("GET", url, params, {"User-Agent": self.settings.user_agent})

    def packs(self, symbols: Sequence[str]) -> tuple[str, ...]:
        """As many as a query has room for; without cashtags one, as a word says too little of whose it is."""
        first, *others = symbols
        if self._is_plain or not _CASHTAG.fullmatch(first):
            return (first,)
        packed = [first]
        for symbol in filter(_CASHTAG.fullmatch, others):
            if len(self._query((*packed, symbol))) <= MOST_QUERY:
                packed.append(symbol)
        return tuple(packed)

    def is_of(self, item: Item, symbol: str) -> bool:
        """X names the cashtags of a post, but of a long one those of its beginning alone."""
        return symbol in item.symbols or has_cashtag(item.text, symbol)

    def recheck(self, ids: Sequence[str]) -> HttpRequest:
        """Ask for known posts: what was billed today is not billed again."""
        params = {"ids": ",".join(ids), "tweet.fields": FIELDS}
        url = f"{self.source.base_url.rstrip('/')}/2/tweets"
        return HttpRequest("GET", url, params, {"User-Agent": self.settings.user_agent})

    def rechecked(self, response: RawResponse) -> Page:
        """What X shows no more, deleted, protected or withheld, nobody may: of it the id is left."""
        outer = record(http_response.page(self.source.name, response, _judge_known))
        problems = records(outer.get("errors"))
        named = (word(one.get("resource_id")) for one in problems if one.get("resource_type") == "tweet")
        items = unique(_item(post, {}) for post in _posts(outer.get("data")))
        gone = tuple(filter(None, named))
        if problems and not items and not gone:
            raise http_response.unreadable(self.source.name, response, "the answer holds errors alone")
        return Page(items, hints=rate_hint.hints(response), gone=gone)

    @property
    def _is_plain(self) -> bool:
        return time.monotonic() < self._plain_until

    def _query(self, symbols: Sequence[str]) -> str:
        """Posts that name one of ``symbols``, of those that the filter leaves."""
        form = '"${0}" OR {0}' if self._is_plain else "${0}"
        asked = " OR ".join(map(form.format, symbols))
        return f"({asked}) {self._filter}".rstrip() if " " in asked else f"{asked} {self._filter}".rstrip()

    @property
    def _filter(self) -> str:
        if self.settings.query_filter is not None:
            return self.settings.query_filter
        languages = [f"lang:{language}" for language in spoken(get_settings().languages)]
        return f"{FILTER} {languages[0]}" if len(languages) == 1 else f"{FILTER} ({' OR '.join(languages)})"

    def search_words(self, symbol: str) -> str:
        # Without a filter all posts are found: that is a search of its own as well.
        return f"filter: {self._filter}"

    async def exchange(self, request: HttpRequest) -> RawResponse:
        """Send; a refusal of the cashtag operator becomes an empty page, and the next one does without it.

        So the other query has a slot of its own, and so have those of the next hour.
        """
        response = await super().exchange(request)
        query = request.params.get("query")
        if query is None:
            # Known posts are asked for by their ids.
            return response
        if not query.lstrip("(").startswith("$"):
            # A post that is found by a word may speak of something else, and is billed: `status` tells of it.
            self.usage_monitor.count(self.source.name, {"plain": 1})
        elif _lacks_cashtags(response):
            self._plain_until = time.monotonic() + PLAIN_SECONDS
            log.warning("plan.no_cashtags", source=self.source.name, words_for_seconds=PLAIN_SECONDS)
            if query.startswith("("):
                # The symbols are asked for one by one from now on.
                return response
            return replace(response, status=200, body=_EMPTY)
        return response

    async def item_counts(self, request: FetchRequest, now: datetime) -> Mapping[datetime, int]:
        """By X's own count of the same query; nothing where no ``counts_budget`` is set."""
        if self._counts is None or self._is_plain:
            return {}
        start = now - _OLDEST + _MINUTE
        params = {
            "query": self._query((request.symbol,)),
            "granularity": "minute",
            "start_time": f"{start:%Y-%m-%dT%H:%M:00Z}",
        }
        url = f"{self.source.base_url.rstrip('/')}{COUNTS_PATH}"
        return await self._counts.of(
            HttpRequest("GET", url, params, {"User-Agent": self.settings.user_agent})
        )

    @cached_property
    def _counts(self) -> PostCounts | None:
        budget = self.settings.counts_budget
        # Not by `exchange`: that is for searches.
        return None if budget is None else PostCounts(budget, super().exchange)

    def auth(self) -> httpx2.Auth | None:
        return HeaderAuth.of(
            "TBCACHE_TWITTER__BEARER_TOKEN", self.settings.bearer_token, "Authorization", "Bearer"
        )

    def parse(self, response: RawResponse) -> Page:
        body = http_response.page(self.source.name, response, _judge)
        outer, meta = record(body), record(record(body).get("meta"))
        posts, stated = list(_posts(outer.get("data"))), number(meta.get("result_count"))
        if not _holds_page(outer):
            raise http_response.unreadable(
                self.source.name, response, "the answer holds neither posts nor meta"
            )
        if stated is not None and stated < 0:
            what = f"the answer speaks of {stated:g} posts"
            raise http_response.unreadable(self.source.name, response, what)
        if stated is not None and stated > 0 and not outer.get("data"):
            what = f"the answer speaks of {stated:g} posts and holds none"
            raise http_response.unreadable(self.source.name, response, what)
        users = records(record(outer.get("includes")).get("users"))
        names = {word(user.get("id")): word(user.get("username")) for user in users}
        total = number(meta.get("total_tweet_count"))
        items = unique(_item(post, names) for post in posts)
        return Page(
            items,
            next=word(meta.get("next_token")),
            total=None if total is None else int(total),
            hints=rate_hint.hints(response),
            users=tuple(filter(None, names)),
            # The last page of a search has its count and no token. A post that comes many times is one.
            exhausted="next_token" not in meta and stated == len(items) and not _is_cut(outer),
        )


def _span(fetch: FetchRequest, since: datetime) -> dict[str, str]:
    """The time that is asked for; a part of it by ids, as these tell milliseconds and times only seconds.

    No known post's id is needed for that, and so none that is wrong hides others. X takes ids of the last
    seven days.
    """
    oldest, until = fetch.now(since) - _OLDEST, fetch.until
    params = {"start_time": f"{max(oldest, since):%Y-%m-%dT%H:%M:%SZ}"}
    if fetch.stretch is not None and since > oldest:
        params = {"since_id": str(_id_at(since) - 1)}
    return params if until is None else params | {"until_id": str(_id_at(until + _MILLISECOND))}


def _id_at(moment: datetime) -> int:
    """The least id that a post of ``moment`` can have.

    An id ("snowflake") is the milliseconds since 2010-11-04T01:42:54.657Z, and 22 bits that tell posts of
    one millisecond apart: https://docs.x.com/resources/fundamentals/x-ids
    """
    return (moment - _FIRST_ID) // _MILLISECOND << 22


def _lacks_cashtags(response: RawResponse) -> bool:
    """True where X says that the plan has no cashtag operator."""
    if response.status != 400:
        return False
    errors = records(record(http_response.decode(response.body)).get("errors"))
    return any(_NO_CASHTAGS.search(word(error.get("message")) or "") for error in errors)


def _posts(data: Any) -> Iterator[dict[str, Any]]:
    """The posts in ``data``, one or many; counts and users are not posts."""
    for row in records(data if isinstance(data, list) else [data]):
        if isinstance(row.get("text"), str) or (word(row.get("id")) and "username" not in row):
            yield row


def _item(post: dict[str, Any], names: dict[str | None, str | None]) -> Item:
    author, post_id = word(post.get("author_id")), word(post.get("id"))
    # The text of a long post is cut; the whole of it stands apart.
    written = text(record(post.get("note_tweet")).get("text")) or text(post.get("text"))
    kind, origin = _reference(post)
    return Item(
        post_id or fingerprint(author, word(post.get("created_at")), written),
        moment(post.get("created_at")),
        written,
        author=names.get(author) or author if author is not None else None,
        kind=kind,
        url=f"https://x.com/i/status/{post_id}" if post_id else None,
        lang=word(post.get("lang")),
        symbols=_cashtags(post),
        engagement=_engagement(post),
        origin=origin,
        first_id=_first_id(post, post_id),
    )


def _reference(post: dict[str, Any]) -> tuple[Kind, str | None]:
    """What the post is to another, and the id of that."""
    for reference in records(post.get("referenced_tweets")):
        if (kind := _KINDS.get(word(reference.get("type")) or "")) is not None:
            return kind, word(reference.get("id"))
    return "post", None


def _cashtags(post: dict[str, Any]) -> tuple[str, ...]:
    tags = (word(tag.get("tag")) for tag in records(record(post.get("entities")).get("cashtags")))
    return tuple(dict.fromkeys(tag.upper() for tag in tags if tag))


def _engagement(post: dict[str, Any]) -> Engagement:
    metrics = record(post.get("public_metrics"))
    names = ("like_count", "retweet_count", "reply_count")
    return Engagement(*(count(metrics.get(name)) for name in names))


def _first_id(post: dict[str, Any], post_id: str | None) -> str | None:
    """The id of the first version, where the post was edited: each version has one of its own."""
    history = post.get("edit_history_tweet_ids")
    first = word(history[0]) if isinstance(history, list) and history else None
    return first if first != post_id else None


def _judge(body: Any, response: RawResponse) -> ErrorMeaning | None:
    """Tell a quota from a window, and name the error of a 200 that holds nothing else."""
    outer = record(body)
    is_success = 200 <= response.status < 300
    if is_success and (outer.get("data") or ("meta" in outer and not _is_cut(outer))):
        return None
    names = list(_names(outer))
    if not _QUOTAS.isdisjoint(names):
        return ErrorMeaning(UpstreamQuotaExhausted, _period_end(outer, response))
    if response.status == 429 and (spent := _spent_day(response)):
        return ErrorMeaning(UpstreamQuotaExhausted, spent)
    if not is_success or not names:
        return None
    known = next((_PROBLEMS[name] for name in names if name in _PROBLEMS), None)
    return ErrorMeaning(known or http_response.named(outer) or UpstreamPayloadError)


def _judge_known(body: Any, response: RawResponse) -> ErrorMeaning | None:
    """:func:`_judge`, of posts by their ids: that all of them are gone is an answer."""
    outer = record(body)
    is_told = bool(outer.get("data") or outer.get("errors")) and not _is_cut(outer)
    return None if 200 <= response.status < 300 and is_told else _judge(body, response)


def _is_cut(outer: dict[str, Any]) -> bool:
    """True where an error stands in the answer that is not merely that of one resource it leaves out."""
    return any(_WITHHELD.isdisjoint(_problem(each)) for each in records(outer.get("errors")))


def _holds_page(outer: dict[str, Any]) -> bool:
    """True for one post, a list of them, or the bare ``meta`` of an empty answer."""
    data = outer.get("data")
    return holds_records(data if isinstance(data, list) else [data]) or (
        data is None and isinstance(outer.get("meta"), dict)
    )


def _names(outer: dict[str, Any]) -> Iterator[str]:
    """The problems that an answer names, by the end of their type and by their title."""
    for problem in (outer, *records(outer.get("errors"))):
        yield from _problem(problem)


def _problem(problem: dict[str, Any]) -> Iterator[str]:
    for value in (problem.get("type"), problem.get("title")):
        if isinstance(value, str):
            yield value.rpartition("/")[2].lower()


def _period_end(outer: dict[str, Any], response: RawResponse) -> datetime | None:
    stated = f"{word(outer.get('period'))} {word(outer.get('detail'))}".lower()
    if "daily" in stated:
        return http_time.renewal(response, http_time.next_midnight)
    return http_time.renewal(response, http_time.next_month) if "month" in stated else None


def _spent_day(response: RawResponse) -> datetime | None:
    """When a spent 24-hour allowance comes back, which a 429 tells in headers alone."""
    for whose in ("app", "user"):
        prefix = f"x-{whose}-limit-24hour"
        if number(response.headers.get(f"{prefix}-remaining")) == 0:
            return http_time.by_our_clock(response, moment(response.headers.get(f"{prefix}-reset")))
    return None
