"""The timeline of a symbol: every version of each item, when it was seen, and the score that it was given.

Two timelines of a symbol can be merged in any order, and any number of times, with the same result. A version
never changes, and which version of an item counts depends only on when each was seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

from tbcache.models import Item
from tbcache.timeline.coverage import Coverage, Span

#: The smallest step between two different moments.
_RESOLUTION = timedelta(microseconds=1)
_EARLIEST = datetime.min.replace(tzinfo=UTC)


class Scored(NamedTuple):
    """A version of an item, with the time when it was seen, and its score (-1..1) or None."""

    item: Item
    score: float | None

    @property
    def seen_at(self) -> datetime:
        """When this version was read first.

        Raises:
          ValueError: the item was not read yet.
        """
        if self.item.seen_at is None:
            raise ValueError(f"item {self.item.id!r} has no seen_at")
        return self.item.seen_at

    @property
    def at(self) -> datetime:
        """The time of the item; where it has none, the time when it was seen."""
        return self.item.at or self.seen_at


class Read(NamedTuple):
    """At the moment ``at``, all items were read that the upstream had of ``span``."""

    span: Span
    at: datetime


@dataclass(frozen=True, slots=True)
class Timeline:
    """``versions``, sorted with the oldest item first, and the ``reads`` that brought them; see
    :meth:`of`.
    """

    versions: tuple[Scored, ...] = ()
    reads: tuple[Read, ...] = ()

    @classmethod
    def of(cls, versions: Iterable[Scored], reads: Iterable[Read] = ()) -> Self:
        """A timeline of these, which come in any order.

        Of two versions of an item that were seen at the same moment only one stays, always the same one.
        """
        kept: dict[tuple[str, datetime], Scored] = {}
        for version in versions:
            key = version.item.identity, version.seen_at
            known = kept.get(key)
            if known is None:
                kept[key] = version
            elif known != version:
                kept[key] = max(known, version, key=repr)
        return cls(tuple(sorted(kept.values(), key=_place)), tuple(sorted(set(reads))))

    @property
    def coverage(self) -> Coverage:
        """The time of which no item is missing, as far as the upstream had it when it was asked."""
        return Coverage.of(read.span for read in self.reads)

    def __or__(self, other: Timeline) -> Timeline:
        """All versions and reads of both."""
        return Timeline.of((*self.versions, *other.versions), (*self.reads, *other.reads))

    def latest(self) -> dict[str, Scored]:
        """By the identity of an item: its version that was seen last."""
        return _latest(self.versions)

    def news(self, items: Iterable[Item], read_at: datetime) -> list[Item]:
        """Those of ``items`` that are new, or differ from their known version, as seen at ``read_at``.

        A new version is always seen later than the one that it replaces, even if the clock was set back. Of
        several versions of one item the last counts: a page may still have those before an edit.
        """
        known = self.latest()
        found = []
        last: dict[str, Item] = {}
        for item in items:
            last[item.identity] = max(last.get(item.identity, item), item, key=_version)
        for item in last.values():
            before = known.get(item.identity)
            if before is None:
                found.append(replace(item, seen_at=read_at))
            elif not _says_the_same(item, before):
                found.append(replace(item, seen_at=max(read_at, before.seen_at + _RESOLUTION)))
        return found

    def without(self, ids: Iterable[str]) -> list[Item]:
        """The known items that have one of ``ids``, as removed ones: without text, label and score."""
        gone = frozenset(ids)
        return [
            replace(each.item, text="", label=None, score=None, is_gone=True, seen_at=None)
            for each in self.latest().values()
            if each.item.id in gone or each.item.identity in gone
        ]

    def since(self, start: datetime) -> list[Scored]:
        """The last version of each item from ``start`` on, the oldest item first."""
        return sorted((each for each in self.latest().values() if each.at >= start), key=_place)

    def as_of(self, moment: datetime) -> Timeline:
        """The timeline as it was at ``moment``."""
        return Timeline.of(
            (version for version in self.versions if version.seen_at <= moment),
            (read for read in self.reads if read.at <= moment),
        )

    def cut(self, oldest: datetime, most: int) -> datetime:
        """The moment from which on there are at most ``most`` items; not before ``oldest``."""
        times = sorted(each.at for each in self.latest().values() if each.at >= oldest)
        # Of several items with the same time, all are kept or none.
        return oldest if len(times) <= most else times[-most - 1] + _RESOLUTION

    def kept_from(self, start: datetime) -> Timeline:
        """The last versions of the items from ``start`` on.

        The time before ``start`` is not covered any more. The reads that cover a span together become one.
        """
        spans = Coverage.of(Span(max(start, span.start), span.end) for span in self.coverage.spans).spans
        return Timeline.of(self.since(start), (Read(span, self._read_at(span)) for span in spans))

    def _read_at(self, span: Span) -> datetime:
        """When the last of the reads was that cover ``span``."""
        return max(
            read.at for read in self.reads if read.span.start < span.end and read.span.end > span.start
        )


def _latest(versions: Iterable[Scored]) -> dict[str, Scored]:
    last: dict[str, Scored] = {}
    for version in versions:
        known = last.get(version.item.identity)
        if known is None or known.seen_at < version.seen_at:
            last[version.item.identity] = version
    return last


def _place(version: Scored) -> tuple[datetime, str, datetime]:
    return version.at, version.item.identity, version.seen_at


def _version(item: Item) -> tuple[bool, datetime, int, str]:
    """By what the versions of an item are told apart: each later one has a greater id."""
    return item.is_gone, item.at or _EARLIEST, len(item.id), item.id


def _says_the_same(item: Item, known: Scored) -> bool:
    """True where only the engagement differs: likes grow with every look, and are no new version."""
    return replace(item, seen_at=known.item.seen_at, engagement=known.item.engagement) == known.item
