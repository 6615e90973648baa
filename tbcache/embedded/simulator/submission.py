"""Posts and comments in the form that reddit gives them."""

from __future__ import annotations

import functools
import html
import math
from typing import Any

import msgspec

from tbcache.embedded.simulator import base36, chatter, post
from tbcache.embedded.simulator.api import stamp
from tbcache.embedded.simulator.stream import DAY, Stream

COMMENTS = "reddit-comments"
STICKIES = 2

_SUBREDDITS = (
    "wallstreetbets", "wallstreetbets", "wallstreetbets", "stocks", "stocks",
    "investing", "options", "StockMarket", "pennystocks", "Daytrading",
)  # fmt: skip
#: The digits with which an id encodes a symbol.
_SYMBOL_DIGITS = " ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-*"
_TIME_DIGITS = 6
_SCORE, _REPLIES = 101, 102


def fullname(stream: Stream, k: int) -> str:
    return f"{_kind(stream)}_{_id(stream, k)}"


@functools.lru_cache(maxsize=50_000)
def _id(stream: Stream, k: int) -> str:
    """The id of item ``k``. Ids are ordered by time, and encode the symbol, so that none has to be stored."""
    number = 0
    for letter in stream.symbol:
        number = number * len(_SYMBOL_DIGITS) + _SYMBOL_DIGITS.index(letter)
    return base36.encode(stream.at(k)) + base36.encode(number)


def place(id_: str) -> tuple[int, str] | None:
    """The time and the symbol that an id encodes; the symbol of a pinned post is ``""``."""
    at, number = base36.decode(id_[:_TIME_DIGITS]), base36.decode(id_[_TIME_DIGITS:])
    if at is None or number is None:
        return None
    letters = ""
    while number:
        number, rest = divmod(number, len(_SYMBOL_DIGITS))
        letters = _SYMBOL_DIGITS[rest] + letters
    return at, letters


def subreddit(stream: Stream, k: int) -> str:
    return _SUBREDDITS[(stream.salt + k * 31) % len(_SUBREDDITS)]


def score(stream: Stream, k: int) -> int:
    """The score of item ``k``. Most items have a low one, and a few a high one."""
    return int(2000 * stream.draw(k, _SCORE) ** 4)


def replies(stream: Stream, k: int) -> int:
    return int(400 * stream.draw(k, _REPLIES) ** 3)


def heat(stream: Stream, k: int) -> float:
    """The rank in the listing ``hot``: ten times the score counts as much as half a day."""
    return math.log10(1 + score(stream, k)) + stream.at(k) / 45_000


def show(stream: Stream, k: int, escaped: bool, now: float) -> msgspec.Raw:
    """Item ``k`` as it is at ``now``; ``escaped`` unless the caller asked for ``raw_json=1``."""
    changed = post.edited_at(stream, k)
    is_edited = changed is not None and changed <= now
    return _show(stream, k, escaped, is_edited, post.is_gone(stream, k, now))


@functools.lru_cache(maxsize=8192)
def _show(stream: Stream, k: int, escaped: bool, is_edited: bool, is_gone: bool) -> msgspec.Raw:
    written = post.write(stream, k)
    text = written.text if is_edited else written.first_text
    facts = _comment(stream, k, text) if stream.source == COMMENTS else _link(stream, k, text)
    facts |= {
        "author": written.author.username,
        "edited": float(written.edited_at or 0) if is_edited else False,
    }
    if is_gone:
        # The author or a moderator removed it. The name is never null, as PRAW could not read the listing
        # then.
        facts["author"] = "[deleted]"
        facts["body" if stream.source == COMMENTS else "selftext"] = (
            "[deleted]" if k % 5 == 0 else "[removed]"
        )
    if escaped:
        facts |= {name: html.escape(facts[name]) for name in ("title", "selftext", "body") if name in facts}
    return msgspec.Raw(msgspec.json.encode({"kind": _kind(stream), "data": facts}))


def _kind(stream: Stream) -> str:
    return "t1" if stream.source == COMMENTS else "t3"


def _link(stream: Stream, k: int, title: str) -> dict[str, Any]:
    dice = stream.dice(k)
    view = post.stance(stream, post.repeated(stream, k))
    price = chatter.price(stream, stream.at(k))
    has_body = dice.random() < 0.6 and stream.symbol != "*" and post.kind(stream, k) != "lookalike"
    return {
        **_envelope(_id(stream, k), subreddit(stream, k), stream.at(k)),
        "title": title,
        "selftext": chatter.body(dice, view, stream.symbol, price) if has_body else "",
        "score": score(stream, k),
        "ups": score(stream, k),
        "upvote_ratio": round(0.5 + dice.random() / 2, 2),
        "num_comments": replies(stream, k),
        "stickied": False,
    }


def _comment(stream: Stream, k: int, text: str) -> dict[str, Any]:
    id_, where = _id(stream, k), subreddit(stream, k)
    parent = _id(stream, k - 1 - k % 7)
    return {
        "id": id_,
        "name": f"t1_{id_}",
        "subreddit": where,
        "created_utc": float(stream.at(k)),
        "created": float(stream.at(k)),
        "body": text,
        "score": score(stream, k),
        "link_id": f"t3_{parent}",
        "parent_id": f"t3_{parent}",
        "permalink": f"/r/{where}/comments/{parent}/post/{id_}/",
        "stickied": False,
    }


def _envelope(id_: str, where: str, at: int) -> dict[str, Any]:
    permalink = f"/r/{where}/comments/{id_}/post/"
    return {
        "id": id_,
        "name": f"t3_{id_}",
        "subreddit": where,
        "subreddit_name_prefixed": f"r/{where}",
        "created_utc": float(at),
        "created": float(at),
        "edited": False,
        "is_self": True,
        "over_18": False,
        "link_flair_text": "Discussion",
        "permalink": permalink,
        "url": f"https://www.reddit.com{permalink}",
    }


def stickies(now: float) -> list[dict[str, Any]]:
    """The two pinned threads that moderators open every day at 11:00 UTC."""
    day = int((now - 11 * 3600) // DAY) * DAY + 11 * 3600
    titles = (f"Daily Discussion Thread for {stamp(day, '%B %d, %Y')}", "Rules: read them before you post")
    return [sticky(title, day - i * 60) for i, title in enumerate(titles[:STICKIES])]


def sticky(title: str, at: int) -> dict[str, Any]:
    facts = {
        **_envelope(f"{base36.encode(at)}0", "wallstreetbets", at),
        "title": title,
        "selftext": "",
        "author": "AutoModerator",
        "score": 90,
        "num_comments": 4000,
        "stickied": True,
        "distinguished": "moderator",
    }
    return {"kind": "t3", "data": facts}
