"""What a clear would remove, before it does."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from tbcache.cache.key import check_key
from tbcache.cache.sweep import SCAN_COUNT
from tbcache.io import utc_now
from tbcache.models.age import age, size
from tbcache.models.error import nearest
from tbcache.models.shape import Shape
from tbcache.store import Store
from tbcache.store.codec import DecodeError, decode_sentiment
from tbcache.store.envelope import open_envelope
from tbcache.store.glob import compile_glob
from tbcache.store.key import is_timeline

#: So many values are read; the others are counted alone.
MOST_READ = 200
MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Matched(Shape):
    """A cached value that a clear would remove."""

    key: str
    bytes: int
    age: float | None
    """Of an answer, in seconds; null of what a program keeps."""


@dataclass(frozen=True, slots=True)
class Preview:
    """``count`` values match; ``values`` are those that were read, by their keys, 200 at most.

    ``near`` is "; did you mean 'news'?" where none does, as no source is called so, and one nearly is.
    """

    count: int
    values: tuple[Matched, ...]
    near: str = ""

    @property
    def bytes(self) -> int:
        """Of the values that were read."""
        return sum(one.bytes for one in self.values)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Those whose answers were read, in the order of the alphabet."""
        return tuple(sorted({one.key.split(":")[1] for one in self.values if one.age is not None}))

    def __str__(self) -> str:
        """What is known of them beside their count, as "of AAPL, GME; 41 kB; 40 s to 7 min old"."""
        symbols, ages = self.symbols, [one.age for one in self.values if one.age is not None]
        parts = []
        if symbols:
            more = f" and {len(symbols) - MOST_NAMED} more" if len(symbols) > MOST_NAMED else ""
            parts.append(f"of {', '.join(symbols[:MOST_NAMED])}{more}")
        parts.append(size(self.bytes))
        if ages:
            parts.append(" to ".join(dict.fromkeys((age(min(ages)), age(max(ages))))) + " old")
        words = "; ".join(parts)
        return words if len(self.values) == self.count else f"the first {len(self.values)}: {words}"


@dataclass(frozen=True, slots=True)
class Cleared(Shape):
    """What a clear of a pattern has removed, or a dry run of one would."""

    pattern: str
    count: int
    """How many were removed, or would be."""
    cleared: int
    """How many were removed: none by a dry run."""
    is_done: bool
    """False for a dry run."""
    would_clear: int | None
    """How many a dry run has found."""
    values: tuple[Matched, ...] | None
    """Those of them that it has read: 200 at most."""
    hint: str | None
    """Which source may be meant, where nothing matches."""

    @classmethod
    def of(cls, pattern: str, count: int, near: str = "") -> Cleared:
        return cls(pattern, count, count, True, None, None, near.removeprefix("; ") or None)

    @classmethod
    def dry(cls, pattern: str, found: Preview) -> Cleared:
        hint = found.near.removeprefix("; ") or None
        return cls(pattern, found.count, 0, False, found.count, found.values, hint)


async def preview(store: Store, pattern: str, sources: Collection[str] = ()) -> Preview:
    """What a clear of ``pattern`` would remove now; ``sources`` are the names of those that are known.

    Raises:
      InvalidRequest: ``pattern`` cannot match a key. Unavailable: Redis is away.
    """
    check_key(pattern, what="pattern")
    glob, keys = compile_glob(pattern), store.keys
    count, found = 0, list[Matched]()
    async for batch in store.scan(keys.matching("cache", pattern), SCAN_COUNT):
        names = [keys.key_of(name.decode(errors="surrogateescape")) for name in batch]
        # The scan brings up more than what matches, and what an answer is made of is none.
        values = [
            name
            for name in names
            if not is_timeline(name) and glob.fullmatch(name.encode(errors="surrogateescape"))
        ]
        count += len(values)
        wanted = values[: MOST_READ - len(found)]
        answers = await store.pipeline(*(("GET", keys.entry(name)) for name in wanted))
        found += _matched(wanted, answers)
    head = pattern.partition(":")[0]
    near = "" if count or head in sources else nearest(head, sources)
    return Preview(count, tuple(sorted(found, key=lambda one: one.key)), near)


def _matched(names: Iterable[str], answers: Iterable[Any]) -> Iterable[Matched]:
    for name, data in zip(names, answers, strict=True):
        # One that is gone since, or of another type, is counted all the same: the clear takes it.
        data = data if isinstance(data, bytes) else b""
        yield Matched(name, len(data), _age(data))


def _age(data: bytes) -> float | None:
    try:
        as_of = decode_sentiment(open_envelope(data)[2]).as_of
    except DecodeError:
        return None
    return max(0.0, (utc_now() - as_of).total_seconds())
