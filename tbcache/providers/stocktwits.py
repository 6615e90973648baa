"""Stocktwits: the message stream of a symbol, of which many carry their author's own label."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx2

from tbcache.fetch import http_response, rate_hint
from tbcache.models import Engagement, FetchRequest, HttpRequest, Item, Label, Page, RawResponse
from tbcache.models.coerce import count, fingerprint, moment, record, records, text, unique, word
from tbcache.models.request import Stretch
from tbcache.providers.base import Provider
from tbcache.providers.client import HeaderAuth

LIMIT = 30
_LABELS: dict[str, Label] = {"bullish": "bullish", "bearish": "bearish"}


class StocktwitsProvider(Provider):
    """The newest messages of a symbol. The stream knows no times: the reader stops when they are old."""

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        params = {"limit": str(LIMIT)}
        known = fetch.stretch or Stretch(since)
        if _is_number(known.since_id):
            params["since"] = str(known.since_id)
        if cursor is None and _is_number(known.until_id):
            cursor = known.until_id
        if cursor is not None:
            params["max"] = cursor
        symbol = quote(fetch.symbol, safe="")
        url = f"{self.source.base_url.rstrip('/')}/api/2/streams/symbol/{symbol}.json"
        return HttpRequest("GET", url, params, {"User-Agent": self.settings.user_agent})

    def auth(self) -> httpx2.Auth | None:
        return HeaderAuth.of(
            "TBCACHE_STOCKTWITS__ACCESS_TOKEN", self.settings.access_token, "Authorization", "OAuth"
        )

    def parse(self, response: RawResponse) -> Page:
        body = http_response.page(self.source.name, response)
        messages = record(body).get("messages") if isinstance(body, dict) else body
        if not isinstance(messages, list):
            raise http_response.unreadable(self.source.name, response, "the answer holds no messages")
        items = unique(_item(message) for message in records(messages) if _is_message(message))
        is_cut = http_response.complains(body)
        if not items and (messages or is_cut):
            raise http_response.unreadable(self.source.name, response, "the answer's messages are not a list")
        cursor = record(record(body).get("cursor"))
        older = word(cursor.get("max")) if items and cursor.get("more") is True else None
        # Collected streams and broken answers have no such word: they may end anywhere.
        is_end = cursor.get("more") is False and not is_cut
        return Page(items, next=older, hints=rate_hint.hints(response), exhausted=is_end)


def _is_number(id: str | None) -> bool:
    return id is not None and id.isascii() and id.isdecimal()


def _is_message(message: dict[str, Any]) -> bool:
    return "body" in message or "created_at" in message


def _item(message: dict[str, Any]) -> Item:
    user, post_id = record(message.get("user")), word(message.get("id"))
    author = word(user.get("username"))
    written = text(message.get("body"))
    names = (word(symbol.get("symbol")) for symbol in records(message.get("symbols")))
    parent = word(record(message.get("conversation")).get("parent_message_id"))
    is_reply = parent is not None and parent != post_id
    return Item(
        post_id or fingerprint(author, word(message.get("created_at")), written),
        moment(message.get("created_at")),
        written,
        author=author,
        label=_label(record(message.get("entities")).get("sentiment")),
        kind="reply" if is_reply else "post",
        url=f"https://stocktwits.com/{quote(author, safe='')}/message/{post_id}"
        if author and post_id
        else None,
        symbols=tuple(dict.fromkeys(name.upper() for name in names if name)),
        engagement=Engagement(
            likes=count(record(message.get("likes")).get("total")), followers=count(user.get("followers"))
        ),
        origin=parent if is_reply else None,
    )


def _label(sentiment: object) -> Label | None:
    """The author's own word; most say nothing."""
    stated = sentiment if isinstance(sentiment, str) else record(sentiment).get("basic")
    return _LABELS.get(stated.lower()) if isinstance(stated, str) else None
