"""Posts in the form that X gives them."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from tbcache.embedded.simulator import post
from tbcache.embedded.simulator.api import stamp
from tbcache.embedded.simulator.chatter import Person
from tbcache.embedded.simulator.stream import Stream
from tbcache.embedded.simulator.x_query import Subject

_EPOCH_MS = 1_288_834_974_657
_FORM = "%Y-%m-%dT%H:%M:%S.000Z"
_MENTION = re.compile(r"@(\w+)")
_CASHTAG = re.compile(r"\$([A-Z][A-Z0-9]*(?:[.\-][A-Z0-9]+)*)")
_URL = re.compile(r"https://\S+")
_REFERENCES = {"retweet": "retweeted", "quote": "quoted", "reply": "replied_to"}
#: The text of a retweet is cut to this length; its post has all of it.
_RETWEET_LENGTH = 140
_SPARE = "…"


def number_at(stream: Stream, moment: float) -> int:
    """A snowflake id. Ids are ordered by time; their low bits differ by stream."""
    return (int(moment) * 1000 - _EPOCH_MS) << 22 | stream.salt & 0x3FFFFF


def moment_of(number: int) -> float:
    """The Unix seconds that a snowflake id encodes."""
    return ((number >> 22) + _EPOCH_MS) / 1000


@functools.lru_cache(maxsize=20_000)
def versions(stream: Stream, k: int) -> tuple[int, ...]:
    """All ids of item ``k``: each edit gives it a new one."""
    changed = post.edited_at(stream, k)
    times = (stream.at(k),) if changed is None else (stream.at(k), changed)
    return tuple(number_at(stream, at) for at in times)


def number(stream: Stream, k: int, now: float) -> int:
    """The id that item ``k`` has at ``now``."""
    known = versions(stream, k)
    return known[-1] if moment_of(known[-1]) <= now else known[0]


def author_id(person: Person) -> str:
    return str(20_000_000 + person.number * 7919)


@functools.lru_cache(maxsize=50_000)
def subject(stream: Stream, k: int) -> Subject:
    """The properties of item ``k`` that a query can ask for."""
    written = post.write(stream, k)
    text = written.text.lower()
    mentions = frozenset(_MENTION.findall(text))
    has = {
        "cashtags": written.symbols,
        "mentions": mentions,
        "links": _URL.search(text),
        "hashtags": "#" in text,
    }
    return Subject(
        text=text,
        words=Subject.words_of(text),
        cashtags=frozenset(symbol.lower() for symbol in written.symbols),
        mentions=mentions,
        author=frozenset({written.author.username, author_id(written.author)}),
        lang=written.lang,
        kinds=frozenset({written.kind, *(("verified",) if _is_verified(written.author) else ())}),
        has=frozenset(name for name, found in has.items() if found),
    )


def show(stream: Stream, k: int, fields: tuple[str, ...], now: float) -> msgspec.Raw:
    """Item ``k`` as it is at ``now``, with the requested ``fields``."""
    return _show(stream, k, fields, number(stream, k, now))


@functools.lru_cache(maxsize=8192)
def _show(stream: Stream, k: int, fields: tuple[str, ...], shown: int) -> msgspec.Raw:
    row = _facts(stream, k, shown)
    return msgspec.Raw(msgspec.json.encode({name: row[name] for name in fields if name in row}))


def _facts(stream: Stream, k: int, shown: int) -> dict[str, Any]:
    written = post.write(stream, k)
    history = [str(each) for each in versions(stream, k) if each <= shown]
    whole = written.text if shown == versions(stream, k)[-1] else written.first_text
    text = _cut(whole, written.kind)
    dice = stream.dice(k)
    facts: dict[str, Any] = {
        "id": str(shown),
        "text": html.escape(text, quote=False),
        "edit_history_tweet_ids": history,
        "author_id": author_id(written.author),
        "created_at": stamp(moment_of(shown), _FORM),
        "conversation_id": str(_conversation(stream, k)),
        "lang": written.lang,
        "possibly_sensitive": False,
        "reply_settings": "everyone",
        "source": "Twitter Web App",
        "entities": _entities(text),
        "edit_controls": _edit_controls(stream, k, len(history)),
        "public_metrics": {
            "retweet_count": dice.randrange(12),
            "reply_count": dice.randrange(8),
            "like_count": dice.randrange(90),
            "quote_count": dice.randrange(3),
            "bookmark_count": dice.randrange(5),
            "impression_count": dice.randrange(50, 4000),
        },
    }
    if written.kind not in ("retweet", "spam") and len(whole) > post.LONG_AFTER:
        facts["note_tweet"] = {"text": whole}
    if written.of is not None and written.kind in _REFERENCES:
        kind = _REFERENCES[written.kind]
        facts["referenced_tweets"] = [{"type": kind, "id": str(versions(stream, written.of)[-1])}]
    if written.of is not None and written.kind == "reply":
        facts["in_reply_to_user_id"] = author_id(post.author(stream, written.of))
    return facts


def _cut(text: str, kind: post.Kind) -> str:
    length = _RETWEET_LENGTH if kind == "retweet" else post.LONG_AFTER
    return text if len(text) <= length else text[: length - 1] + _SPARE


def _conversation(stream: Stream, k: int) -> int:
    of = post.origin(stream, k)
    return versions(stream, k if of is None or post.kind(stream, k) != "reply" else of)[0]


def _entities(text: str) -> dict[str, Any]:
    kinds = {"cashtags": (_CASHTAG, "tag"), "mentions": (_MENTION, "username")}
    found: dict[str, Any] = {
        name: [{"start": each.start(), "end": each.end(), key: each[1]} for each in pattern.finditer(text)]
        for name, (pattern, key) in kinds.items()
    }
    found["urls"] = [
        {
            "start": each.start(),
            "end": each.end(),
            "url": each[0],
            "expanded_url": each[0],
            "display_url": each[0][8:],
        }
        for each in _URL.finditer(text)
    ]
    return {name: entries for name, entries in found.items() if entries}


def _edit_controls(stream: Stream, k: int, shown_versions: int) -> dict[str, Any]:
    return {
        "edits_remaining": str(6 - shown_versions),
        "is_edit_eligible": post.kind(stream, k) == "original",
        "editable_until": stamp(stream.at(k) + post.EDIT_SECONDS, _FORM),
    }


def users(people: Iterable[Person], fields: str) -> list[msgspec.Raw]:
    """Each of ``people`` once, with the requested ``user.fields``."""
    return [_user(person, fields) for person in dict.fromkeys(people)]


@functools.lru_cache(maxsize=8192)
def _user(person: Person, fields: str) -> msgspec.Raw:
    wanted = {"id", "name", "username", *fields.split(",")}
    facts = {
        "id": author_id(person),
        "name": person.name,
        "username": person.username,
        "created_at": stamp(1_300_000_000 + person.number * 90_000, _FORM),
        "verified": _is_verified(person),
        "protected": False,
        "description": "",
        "public_metrics": {
            "followers_count": person.number * 13 % 9000,
            "following_count": person.number % 700,
            "tweet_count": person.number * 31 % 50_000,
            "listed_count": person.number % 40,
        },
    }
    return msgspec.Raw(msgspec.json.encode({name: value for name, value in facts.items() if name in wanted}))


def _is_verified(person: Person) -> bool:
    return person.number % 9 == 0
