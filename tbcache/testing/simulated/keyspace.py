"""What a Redis server holds, and the commands that the scripts and the core use, in virtual time.

Only what is used is here: another command is an error. ``tests/simulation/differential.py`` sends
the same commands to a real server and compares the answers.
"""

from __future__ import annotations

import copy
import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from typing import Any

import redis

WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
NOT_INTEGER = "value is not an integer or out of range"
NOT_FLOAT = "value is not a valid float"
_WHOLE = re.compile(rb"-?(0|[1-9]\d{0,18})\Z")


class ZSet:
    """Members with scores, in the order of the scores."""

    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}
        self.order: list[tuple[float, bytes]] = []

    def set(self, member: bytes, score: float) -> None:
        self.remove(member)
        self.scores[member] = score
        insort(self.order, (score, member))

    def remove(self, member: bytes) -> bool:
        score = self.scores.pop(member, None)
        if score is None:
            return False
        del self.order[bisect_left(self.order, (score, member))]
        return True

    def between(self, low: bytes, high: bytes) -> list[tuple[float, bytes]]:
        """The members from ``low`` to ``high``, as ZRANGEBYSCORE takes them."""
        (least, is_after), (most, is_before) = _bound(low), _bound(high)
        first = (
            bisect_right(self.order, (least, _LAST)) if is_after else bisect_left(self.order, (least, b""))
        )
        end = bisect_left(self.order, (most, b"")) if is_before else bisect_right(self.order, (most, _LAST))
        return self.order[first:end]


class _Last(bytes):
    """Greater than any member."""

    def __lt__(self, other: bytes) -> bool:
        return False

    def __gt__(self, other: bytes) -> bool:
        return True


_LAST = _Last()


class Stream(list[tuple[bytes, list[bytes]]]):
    """Entries with their ids."""


class Keyspace:
    """Keys and their values."""

    def __init__(
        self,
        now_us: Callable[[], int],
        publish: Callable[[bytes, bytes], None],
        listeners: Callable[[bytes], int],
    ) -> None:
        """``now_us`` is the server's clock; ``publish`` passes on a channel and a message, and ``listeners``
        says how many connections listen to a channel."""
        self._now_us, self._publish, self._listeners = now_us, publish, listeners
        self._values: dict[bytes, Any] = {}
        self._expires: dict[bytes, int] = {}
        #: The keys that were found to be past their time.
        self.expired: list[bytes] = []

    def do(self, name: str, arguments: list[bytes]) -> Any:
        """Carry out one command.

        Raises:
          redis.ResponseError: it is refused.
        """
        command = getattr(self, f"do_{name.lower()}", None)
        if command is None:
            raise redis.ResponseError(f"unknown command '{name}'")
        return command(*arguments)

    # Everything

    def save(self) -> tuple[dict[bytes, Any], dict[bytes, int]]:
        """All that is held, for :meth:`load`."""
        return copy.deepcopy((self._values, self._expires))

    def load(self, saved: tuple[dict[bytes, Any], dict[bytes, int]]) -> None:
        self._values, self._expires = copy.deepcopy(saved)

    def names(self) -> Iterator[bytes]:
        for key in sorted(self._values):
            if self._find(key) is not None:
                yield key

    def value(self, key: bytes) -> Any:
        return self._find(key)

    def expires_at(self, key: bytes) -> int | None:
        """When a key's time is over (ms)."""
        return self._expires.get(key)

    def _find(self, key: bytes) -> Any:
        expires = self._expires.get(key)
        if expires is not None and self._now_us() // 1000 > expires:
            self._drop(key)
            self.expired.append(key)
        return self._values.get(key)

    def _of(self, key: bytes, kind: type[Any]) -> Any:
        found = self._find(key)
        if found is not None and type(found) is not kind:
            raise redis.ResponseError(WRONG_TYPE)
        return found

    def _make(self, key: bytes, kind: type[Any]) -> Any:
        found = self._of(key, kind)
        if found is None:
            found = self._values[key] = kind()
        return found

    def _drop(self, key: bytes) -> bool:
        self._expires.pop(key, None)
        return self._values.pop(key, None) is not None

    def _drop_empty(self, key: bytes, value: Any) -> None:
        if not (value.scores if isinstance(value, ZSet) else value):
            self._drop(key)

    # Keys

    def do_time(self) -> Any:
        seconds, micros = divmod(self._now_us(), 1_000_000)
        return [b"%d" % seconds, b"%d" % micros]

    def do_ping(self) -> Any:
        return b"PONG"

    def do_del(self, *keys: bytes) -> Any:
        return sum(self._find(key) is not None and self._drop(key) for key in keys)

    do_unlink = do_del

    def do_exists(self, *keys: bytes) -> Any:
        return sum(self._find(key) is not None for key in keys)

    def do_pexpire(self, key: bytes, milliseconds: bytes) -> Any:
        if self._find(key) is None:
            return 0
        if (span := _whole(milliseconds)) <= 0:
            self._drop(key)
        else:
            self._expires[key] = self._now_us() // 1000 + span
        return 1

    def do_expire(self, key: bytes, seconds: bytes) -> Any:
        return self.do_pexpire(key, b"%d" % (1000 * _whole(seconds)))

    def do_pttl(self, key: bytes) -> Any:
        if self._find(key) is None:
            return -2
        expires = self._expires.get(key)
        return -1 if expires is None else expires - self._now_us() // 1000

    def do_scan(self, cursor: bytes, *options: bytes) -> Any:
        wanted = dict(zip((one.upper() for one in options[::2]), options[1::2], strict=True))
        matching = _glob(wanted.get(b"MATCH", b"*"))
        return [b"0", [key for key in self.names() if matching.fullmatch(key)]]

    def do_publish(self, channel: bytes, message: bytes) -> Any:
        self._publish(channel, message)
        return 0

    def do_pubsub(self, what: bytes, *channels: bytes) -> Any:
        return [part for channel in channels for part in (channel, self._listeners(channel))]

    # Strings

    def do_get(self, key: bytes) -> Any:
        return self._of(key, bytes)

    def do_mget(self, *keys: bytes) -> Any:
        found = (self._find(key) for key in keys)
        return [value if isinstance(value, bytes) else None for value in found]

    def do_getrange(self, key: bytes, first: bytes, last: bytes) -> Any:
        held = self._of(key, bytes) or b""
        return _part(held, _whole(first), _whole(last))

    def do_set(self, key: bytes, value: bytes, *options: bytes) -> Any:
        words = [option.upper() for option in options]
        old = self._of(key, bytes) if b"GET" in words else self._find(key)
        is_refused = (b"NX" in words and old is not None) or (b"XX" in words and old is None)
        if not is_refused:
            expires = self._expires.get(key) if b"KEEPTTL" in words and self._find(key) is not None else None
            self._drop(key)
            self._values[key] = value
            if expires is not None:
                self._expires[key] = expires
            for word, scale in ((b"PX", 1), (b"EX", 1000)):
                if word in words:
                    self._expires[key] = self._now_us() // 1000 + scale * _whole(words[words.index(word) + 1])
        if b"GET" in words:
            return old
        return None if is_refused else b"OK"

    # Hashes

    def do_hset(self, key: bytes, *pairs: bytes) -> Any:
        held = self._make(key, dict)
        before = len(held)
        for at in range(0, len(pairs), 2):
            held[pairs[at]] = pairs[at + 1]
        return len(held) - before

    def do_hsetnx(self, key: bytes, name: bytes, value: bytes) -> Any:
        held = self._make(key, dict)
        if name in held:
            return 0
        held[name] = value
        return 1

    def do_hget(self, key: bytes, name: bytes) -> Any:
        return (self._of(key, dict) or {}).get(name)

    def do_hmget(self, key: bytes, *names: bytes) -> Any:
        held = self._of(key, dict) or {}
        return [held.get(name) for name in names]

    def do_hgetall(self, key: bytes) -> Any:
        return [part for pair in (self._of(key, dict) or {}).items() for part in pair]

    def do_hkeys(self, key: bytes) -> Any:
        return list(self._of(key, dict) or ())

    def do_hvals(self, key: bytes) -> Any:
        return list((self._of(key, dict) or {}).values())

    def do_hexists(self, key: bytes, name: bytes) -> Any:
        return int(name in (self._of(key, dict) or {}))

    def do_hlen(self, key: bytes) -> Any:
        return len(self._of(key, dict) or {})

    def do_hdel(self, key: bytes, *names: bytes) -> Any:
        held = self._of(key, dict)
        if held is None:
            return 0
        gone = sum(held.pop(name, None) is not None for name in names)
        self._drop_empty(key, held)
        return gone

    def do_hincrby(self, key: bytes, name: bytes, step: bytes) -> Any:
        held = self._make(key, dict)
        try:
            counted = _whole(held.get(name, b"0")) + _whole(step)
        except redis.ResponseError:
            raise redis.ResponseError("hash value is not an integer") from None
        held[name] = b"%d" % counted
        return counted

    # Lists

    def do_rpush(self, key: bytes, *values: bytes) -> Any:
        held = self._make(key, list)
        held.extend(values)
        return len(held)

    def do_lpop(self, key: bytes) -> Any:
        held = self._of(key, list)
        if not held:
            return None
        first = held.pop(0)
        self._drop_empty(key, held)
        return first

    def do_llen(self, key: bytes) -> Any:
        return len(self._of(key, list) or ())

    def do_lindex(self, key: bytes, at: bytes) -> Any:
        held, index = self._of(key, list) or [], _whole(at)
        return held[index] if -len(held) <= index < len(held) else None

    def do_lrange(self, key: bytes, first: bytes, last: bytes) -> Any:
        return _part(self._of(key, list) or [], _whole(first), _whole(last))

    def do_ltrim(self, key: bytes, first: bytes, last: bytes) -> Any:
        held = self._of(key, list)
        if held is not None:
            held[:] = _part(held, _whole(first), _whole(last))
            self._drop_empty(key, held)
        return b"OK"

    # Sorted sets

    def do_zadd(self, key: bytes, *arguments: bytes) -> Any:
        rest, words = list(arguments), set[bytes]()
        while rest[0].upper() in (b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"):
            words.add(rest.pop(0).upper())
        pairs = [(rest[at + 1], _score(rest[at])) for at in range(0, len(rest), 2)]
        held = self._of(key, ZSet)
        if held is None:
            if b"XX" in words:
                return None if b"INCR" in words else 0
            held = self._make(key, ZSet)
        if b"INCR" in words:
            return _increase(held, *pairs[0], words)
        return sum(_add(held, member, score, words) for member, score in pairs)

    def do_zrem(self, key: bytes, *members: bytes) -> Any:
        held = self._of(key, ZSet)
        if held is None:
            return 0
        gone = sum(held.remove(member) for member in members)
        self._drop_empty(key, held)
        return gone

    def do_zscore(self, key: bytes, member: bytes) -> Any:
        held = self._of(key, ZSet)
        score = None if held is None else held.scores.get(member)
        return None if score is None else _number(score)

    def do_zmscore(self, key: bytes, *members: bytes) -> Any:
        return [self.do_zscore(key, member) for member in members]

    def do_zrank(self, key: bytes, member: bytes) -> Any:
        held = self._of(key, ZSet)
        score = None if held is None else held.scores.get(member)
        return None if score is None else bisect_left(held.order, (score, member))

    def do_zcard(self, key: bytes) -> Any:
        held = self._of(key, ZSet)
        return 0 if held is None else len(held.order)

    def do_zintercard(self, count: bytes, *words: bytes) -> Any:
        sets = [self._of(key, ZSet) for key in words[: int(count)]]
        shared = set.intersection(*(set() if held is None else set(held.scores) for held in sets))
        return min(len(shared), _whole(words[-1]) if len(words) > int(count) else len(shared))

    def do_zcount(self, key: bytes, low: bytes, high: bytes) -> Any:
        held = self._of(key, ZSet)
        return 0 if held is None else len(held.between(low, high))

    def do_zrange(self, key: bytes, first: bytes, last: bytes, *options: bytes) -> Any:
        if b"BYSCORE" in [option.upper() for option in options]:
            return self.do_zrangebyscore(key, first, last, *options)
        held = self._of(key, ZSet)
        found = [] if held is None else _part(held.order, _whole(first), _whole(last))
        return _listed(found, options)

    def do_zrangebyscore(self, key: bytes, low: bytes, high: bytes, *options: bytes) -> Any:
        held, words = self._of(key, ZSet), [option.upper() for option in options]
        found = [] if held is None else held.between(low, high)
        if b"LIMIT" in words:
            at = words.index(b"LIMIT")
            skipped, count = _whole(words[at + 1]), _whole(words[at + 2])
            found = found[skipped : skipped + count]
        return _listed(found, options)

    def do_zremrangebyscore(self, key: bytes, low: bytes, high: bytes) -> Any:
        held = self._of(key, ZSet)
        if held is None:
            return 0
        gone = held.between(low, high)
        for _, member in gone:
            held.remove(member)
        self._drop_empty(key, held)
        return len(gone)

    # Sets and streams

    def do_sadd(self, key: bytes, *members: bytes) -> Any:
        held = self._make(key, set)
        before = len(held)
        held.update(members)
        return len(held) - before

    def do_xadd(self, key: bytes, _: bytes, *fields: bytes) -> Any:
        held = self._make(key, Stream)
        last = held[-1][0] if held else b"0-0"
        at, number = self._now_us() // 1000, 0
        if int(last.partition(b"-")[0]) >= at:
            at, number = int(last.partition(b"-")[0]), int(last.partition(b"-")[2]) + 1
        held.append((b"%d-%d" % (at, number), list(fields)))
        return held[-1][0]


def _add(held: ZSet, member: bytes, score: float, words: set[bytes]) -> int:
    """1 where it is new, or with CH, where it is another."""
    old = held.scores.get(member)
    if old is None:
        if b"XX" in words:
            return 0
        held.set(member, score)
        return 1
    is_kept = b"NX" in words or (b"GT" in words and score <= old) or (b"LT" in words and score >= old)
    if is_kept or score == old:
        return 0
    held.set(member, score)
    return int(b"CH" in words)


def _increase(held: ZSet, member: bytes, by: float, words: set[bytes]) -> bytes | None:
    """The new score; None where there is none to increase."""
    old = held.scores.get(member)
    if old is None and b"XX" in words:
        return None
    held.set(member, (old or 0.0) + by)
    return _number(held.scores[member])


def _listed(found: list[tuple[float, bytes]], options: tuple[bytes, ...]) -> list[bytes]:
    if any(option.upper() == b"WITHSCORES" for option in options):
        return [part for score, member in found for part in (member, _number(score))]
    return [member for _, member in found]


def _part(many: Any, first: int, last: int) -> Any:
    """The part from ``first`` to ``last``, both included, as Redis counts them."""
    size = len(many)
    begin = max(0, first + size if first < 0 else first)
    return many[begin : (last + size if last < 0 else last) + 1]


def _whole(text: bytes) -> int:
    if _WHOLE.match(text) is None:
        raise redis.ResponseError(NOT_INTEGER)
    return int(text)


def _score(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        raise redis.ResponseError(NOT_FLOAT) from None


def _number(score: float) -> bytes:
    return b"%d" % score if score == int(score) else repr(score).encode()


def _bound(text: bytes) -> tuple[float, bool]:
    """A bound, and whether it is left out itself."""
    return (_score(text[1:]), True) if text[:1] == b"(" else (_score(text), False)


#: The parts of a glob: an escaped byte, a class, or any other byte.
_GLOB = re.compile(rb"\\(.)|(\[\^?(?:\\.|[^\]])*\])|(.)", re.DOTALL)


def _glob(pattern: bytes) -> re.Pattern[bytes]:
    """What matches as Redis' ``MATCH`` does."""

    def expression(found: re.Match[bytes]) -> bytes:
        escaped, some, one = found.groups()
        return some or {b"*": b".*", b"?": b"."}.get(one) or re.escape(escaped or one)

    return re.compile(_GLOB.sub(expression, pattern), re.DOTALL)
