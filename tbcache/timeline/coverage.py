"""Coverage: the spans of time of which all items are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Self


class Span(NamedTuple):
    """The time from ``start`` to ``end``, both aware. It is empty unless ``end`` is later than ``start``."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Coverage:
    """Spans that neither overlap nor touch, the oldest first: see :meth:`of`."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, spans: Iterable[Span]) -> Self:
        """The coverage of all of ``spans`` together, in whatever order they come."""
        joined: list[Span] = []
        for span in sorted(span for span in spans if span.start < span.end):
            if joined and span.start <= joined[-1].end:
                joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
            else:
                joined.append(span)
        return cls(tuple(joined))

    def __or__(self, other: Coverage) -> Coverage:
        """The time that either covers."""
        return Coverage.of((*self.spans, *other.spans))

    def within(self, limits: Span) -> Coverage:
        """The part of ``limits`` that is covered."""
        return Coverage.of(Span(max(s.start, limits.start), min(s.end, limits.end)) for s in self.spans)

    def holes(self, limits: Span) -> tuple[Span, ...]:
        """The parts of ``limits`` that are not covered, the oldest first."""
        inside = self.within(limits).spans
        edges = [limits.start, *(edge for span in inside for edge in span), limits.end]
        pairs = zip(edges[::2], edges[1::2], strict=True)
        return tuple(Span(start, end) for start, end in pairs if start < end)

    def last(self, limits: Span) -> Span | None:
        """The newest covered span within ``limits``; None where there is none."""
        inside = self.within(limits).spans
        return inside[-1] if inside else None

    @property
    def length(self) -> timedelta:
        """How much time is covered."""
        return sum((span.end - span.start for span in self.spans), timedelta())


NO_COVERAGE = Coverage()
