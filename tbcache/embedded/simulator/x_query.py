"""A parser for queries of X, like ``($AAPL OR "apple inc") lang:en -is:retweet from:somebody``."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r'\s*(?:(?P<mark>[()])|(?P<minus>-)|(?P<term>(?:[A-Za-z_]+:)?"[^"]*"|[^\s()"]+)|(?P<quote>"))'
)
#: Groups and negations may be nested so deeply.
DEEPEST = 30
_WORD = re.compile(r"\w+")
#: A query needs one of these operators, or a word; all other operators only narrow a search.
_STANDALONE = frozenset({
    "from", "to", "url", "retweets_of", "context", "entity", "conversation_id", "bio", "bio_name",
    "bio_location", "place", "place_country", "point_radius", "bounding_box", "list", "in_reply_to_tweet_id",
    "retweets_of_tweet_id", "quotes_of_tweet_id",
})  # fmt: skip
_NARROWING = frozenset({"lang", "is", "has", "sample", "followers_count", "tweets_count", "following_count"})
_IS = ("retweet", "reply", "quote", "verified", "nullcast")
_HAS = ("hashtags", "cashtags", "links", "mentions", "media", "images", "video_link", "videos", "geo")


class BadQuery(Exception):
    """X refuses the query, with this text."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The properties of a post that a query can ask for, all in lower case."""

    text: str
    words: frozenset[str]
    cashtags: frozenset[str]
    mentions: frozenset[str]
    author: frozenset[str]
    lang: str
    kinds: frozenset[str]
    has: frozenset[str]

    @staticmethod
    def words_of(text: str) -> frozenset[str]:
        return frozenset(_WORD.findall(text.lower()))


Test = Callable[[Subject], bool]


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a query. ``is_enough`` is true where it may stand alone, as a cashtag may and ``lang:en``
    not.
    """

    test: Test
    is_enough: bool


@functools.lru_cache(maxsize=512)
def read(query: str) -> Test:
    """The test that ``query`` stands for.

    Raises:
      BadQuery: X answers such a query with a 400.
    """
    reader = _Reader(query)
    clause = reader.either()
    if reader.kind != "end":
        raise BadQuery(
            _errors(f"no viable alternative at input '{reader.text}' (at position {reader.position})")
        )
    if not clause.is_enough:
        raise BadQuery(
            _errors("Rules must contain at least one positive, non-stopword clause (at position 1)")
        )
    return clause.test


class _Reader:
    """A recursive descent parser; ``kind`` and ``text`` are those of the next token."""

    def __init__(self, query: str) -> None:
        self._tokens = _tokens(query)
        self.kind, self.text, self.position = next(self._tokens)
        self._depth = 0

    def _take(self) -> str:
        taken = self.text
        self.kind, self.text, self.position = next(self._tokens)
        return taken

    def either(self) -> Clause:
        parts = [self._all()]
        while self.text == "OR":
            self._take()
            parts.append(self._all())
        if len(parts) == 1:
            return parts[0]
        tests = tuple(part.test for part in parts)
        return Clause(lambda post: any(test(post) for test in tests), all(part.is_enough for part in parts))

    def _all(self) -> Clause:
        parts = [self._one()]
        while self.kind != "end" and self.text not in (")", "OR"):
            parts.append(self._one())
        tests = tuple(part.test for part in parts)
        return Clause(lambda post: all(test(post) for test in tests), any(part.is_enough for part in parts))

    def _one(self) -> Clause:
        if self.kind == "minus" or self.text == "(":
            return self._nested()
        if self.kind != "term" or self.text == "OR":
            found = self.text or "<EOF>"
            raise BadQuery(_errors(f"no viable alternative at input '{found}' (at position {self.position})"))
        _refuse_ambiguous(self.text, self.position)
        return _term(self._take())

    def _nested(self) -> Clause:
        self._depth += 1
        if self._depth > DEEPEST:
            raise BadQuery(_errors(f"too many nested groups (at position {self.position})"))
        clause = self._group() if self._take() == "(" else self._negated()
        self._depth -= 1
        return clause

    def _negated(self) -> Clause:
        negated = self._one().test
        return Clause(lambda post: not negated(post), is_enough=False)

    def _group(self) -> Clause:
        clause = self.either()
        if self.text != ")":
            raise BadQuery(_errors(f"missing ')' at '<EOF>' (at position {self.position})"))
        self._take()
        return clause


def _tokens(query: str) -> Iterator[tuple[str, str, int]]:
    """The kind, the text and the position of each token; at the end, ``end`` for ever."""
    at = 0
    query = query.rstrip()
    while found := _TOKEN.match(query, at):
        kind = str(found.lastgroup)
        if kind == "quote":
            raise BadQuery(_errors(f"missing '\"' at '<EOF>' (at position {found.start(kind) + 1})"))
        yield kind, found[kind], found.start(kind) + 1
        at = found.end()
    while True:
        yield "end", "", len(query) + 1


def _refuse_ambiguous(word: str, position: int) -> None:
    joins = {"and": "a space to logically join two clauses", "or": "a capitalized OR to separate two clauses"}
    if word == "AND" or word in joins:
        lower = word.lower()
        raise BadQuery(
            _errors(f'Ambiguous use of {lower} as a keyword. Use {joins[lower]}, or "{lower}" to find '
                    f"occurrences of {lower} in text (at position {position})")
        )  # fmt: skip


def _term(text: str) -> Clause:
    name, colon, value = text.partition(":")
    if colon and value and name.isidentifier() and not value.startswith("//"):
        return _operator(name, value.strip('"').lower())
    lower = text.lower()
    if lower.startswith('"'):
        return _phrase(lower.strip('"'))
    if lower.startswith("$"):
        return Clause(lambda post: lower[1:] in post.cashtags, is_enough=True)
    if lower.startswith("@"):
        return Clause(lambda post: lower[1:] in post.mentions, is_enough=True)
    if lower.startswith("#"):
        return Clause(lambda post: lower in post.text, is_enough=True)
    words = Subject.words_of(lower)
    return Clause(lambda post: bool(words) and words <= post.words, is_enough=True)


def _phrase(words: str) -> Clause:
    pattern = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)")
    return Clause(lambda post: bool(words) and bool(pattern.search(post.text)), is_enough=True)


def _operator(name: str, value: str) -> Clause:
    if name not in _STANDALONE | _NARROWING:
        raise BadQuery(
            f"Reference to invalid operator '{name}'. Operator is not available in current product or "
            "product packaging. Please refer to complete available operator list."
        )
    for operator, values in (("is", _IS), ("has", _HAS)):
        if name == operator and value not in values:
            raise BadQuery(f"Reference to invalid field value '{value}' for operator '{name}:'.")
    tests: dict[str, Test] = {
        "lang": lambda post: post.lang == value,
        "is": lambda post: value in post.kinds,
        "has": lambda post: value in post.has,
        "from": lambda post: value.removeprefix("@") in post.author,
        "to": lambda post: post.text.startswith(f"@{value.removeprefix('@')} "),
        "retweets_of": lambda post: post.text.startswith(f"rt @{value.removeprefix('@')}:"),
        "url": lambda post: value in post.text,
        "sample": lambda post: True,
    }
    # Operators about properties that these posts do not have, as their place, find none.
    return Clause(tests.get(name, lambda post: False), is_enough=name in _STANDALONE)


def _errors(what: str) -> str:
    return f"There were errors processing your request: {what}"
