"""The items of a symbol: every version of each, when it was seen, and the score that it was given.

Two timelines of the same symbol merge to one that has what either has, whatever the order in which they come
and however often: a version is never changed, and which of them counts follows from when they were seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from tbcache.models import Item
from tbcache.timeline.coverage import Coverage, Span

#: Two moments are at least so far apart, or one.
_RESOLUTION = timedelta(microseconds=1)


class Scored(NamedTuple):
    """A version of an item, which says when it was seen, and its score (-1..1); None where it has none."""

    item: Item
    score: float | None

    @property
    def seen_at(self) -> datetime:
        """When this version was read first.

        Raises:
          ValueError: the item does not say: it was not read yet.
        """
        if self.item.seen_at is None:
            raise ValueError(f"item {self.item.id!r} has no seen_at")
        return self.item.seen_at

    @property
    def at(self) -> datetime:
        """When it is of; an item without a time counts from when it was seen."""
        return self.item.at or self.seen_at


class Read(NamedTuple):
    """At ``at`` the upstream was asked for all items of ``span``, and gave all that it had by then."""

    span: Span
    at: datetime


@dataclass(frozen=True, slots=True)
class Timeline:
    """``versions``, the oldest item first, and ``reads``, by which they are known; see :meth:`of`."""

    versions: tuple[Scored, ...] = ()
    reads: tuple[Read, ...] = ()

    @classmethod
    def of(cls, versions: Iterable[Scored], reads: Iterable[Read] = ()) -> Self:
        """One of these in any order. Of two versions that were seen at the same moment one is chosen, always
        the same one.
        """
        kept: dict[tuple[str, datetime], Scored] = {}
        for version in versions:
            key = version.item.identity, version.seen_at
            known = kept.get(key)
            kept[key] = version if known is None else max(known, version, key=repr)
        return cls(tuple(sorted(kept.values(), key=_place)), tuple(sorted(set(reads))))

    @property
    def coverage(self) -> Coverage:
        """The time of which all items are known that the upstream had when it was asked."""
        return Coverage.of(read.span for read in self.reads)

    def __or__(self, other: Timeline) -> Timeline:
        """What either knows."""
        return Timeline.of((*self.versions, *other.versions), (*self.reads, *other.reads))

    def latest(self) -> dict[str, Scored]:
        """Of each item, by its identity, the version that was seen last."""
        return _latest(self.versions)

    def news(self, items: Iterable[Item], read_at: datetime) -> list[Item]:
        """Those of ``items`` that say something else than what is known of them, as seen at ``read_at``, when
        they were read. Where a clock was set back meanwhile they still follow what they replace.
        """
        known = self.latest()
        found = []
        for item in items:
            before = known.get(item.identity)
            if before is None:
                found.append(replace(item, seen_at=read_at))
            elif not _says_the_same(item, before):
                found.append(replace(item, seen_at=max(read_at, before.seen_at + _RESOLUTION)))
        return found

    def without(self, ids: Iterable[str]) -> list[Item]:
        """What is left of the known items that have one of ``ids``, and are gone: no text, and no opinion."""
        gone = frozenset(ids)
        return [
            replace(each.item, text="", label=None, score=None, is_gone=True, seen_at=None)
            for each in self.latest().values()
            if each.item.id in gone or each.item.identity in gone
        ]

    def since(self, start: datetime) -> list[Scored]:
        """The last version of each item that is of ``start`` or later, the oldest first."""
        return sorted((each for each in self.latest().values() if each.at >= start), key=_place)

    def as_of(self, moment: datetime) -> Timeline:
        """What was known at ``moment``."""
        return Timeline.of(
            (version for version in self.versions if version.seen_at <= moment),
            (read for read in self.reads if read.at <= moment),
        )

    def compact(self, oldest: datetime, most: int) -> Timeline:
        """The last versions of the newest ``most`` items that are no older than ``oldest``."""
        return self.kept_from(self.cut(oldest, most))

    def cut(self, oldest: datetime, most: int) -> datetime:
        """From when on the newest ``most`` items are that are no older than ``oldest``."""
        times = sorted(each.at for each in self.latest().values() if each.at >= oldest)
        # Several items may be of one moment: none of them is kept where one is not.
        return oldest if len(times) <= most else times[-most - 1] + _RESOLUTION

    def kept_from(self, start: datetime) -> Timeline:
        """The last versions of the items that are of ``start`` or later.

        Of the time of what is left out nothing is covered any more, and the reads that cover one span count
        as one.
        """
        spans = Coverage.of(Span(max(start, span.start), span.end) for span in self.coverage.spans).spans
        return Timeline.of(self.since(start), (Read(span, self._read_at(span)) for span in spans))

    def _read_at(self, span: Span) -> datetime:
        """When the last read of a covered span was."""
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


def _says_the_same(item: Item, known: Scored) -> bool:
    """True where nothing but what others did with it has changed: likes grow with every look."""
    return replace(item, seen_at=known.item.seen_at, engagement=known.item.engagement) == known.item
