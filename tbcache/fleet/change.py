"""What has changed of late: what operators did, which troubles began and ended, who came and went, and which
errors are of a new kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from tbcache.fleet.audit import AuditLine
from tbcache.fleet.incident import Incident
from tbcache.models.error import InvalidRequest
from tbcache.models.shape import Shape
from tbcache.models.untrusted import quoted
from tbcache.monitoring import WorkerStatus
from tbcache.monitoring.departure import Departure
from tbcache.monitoring.interval import intervals_of
from tbcache.store.mark import Marks
from tbcache.store.wire import MICROS, to_micros, to_time

ChangeKind = Literal["order", "began", "ended", "came", "left", "lost", "errors"]


@dataclass(frozen=True, slots=True)
class Change(Shape):
    """What happened: `order` of an operator; a trouble `began` or `ended`; a process `came`, `left` in order,
    or is `lost`; `errors` of a kind that there were none of in as long before, as far as is known."""

    at: datetime
    kind: ChangeKind
    what: str
    source: str | None = None
    who: str | None = None
    """The operator, or the process."""


class ChangeMark(NamedTuple):
    """A place in the list of changes: how many of the moment ``at_us`` come before it."""

    at_us: int
    skip: int

    @classmethod
    def read(cls, text: str) -> ChangeMark:
        parts = text.split(".")
        if len(parts) != 2 or not all(one.isdecimal() and one.isascii() and len(one) < 18 for one in parts):
            raise InvalidRequest(f"after {quoted(text)}: it should be as the answer's `Link` has it")
        return cls(int(parts[0]), int(parts[1]))

    @classmethod
    def behind(cls, page: Sequence[Change], after: ChangeMark | None) -> ChangeMark:
        """The place behind the last of a page that began ``after`` another."""
        last = _micros(page[-1])
        same = sum(_micros(one) == last for one in page)
        return cls(last, same + (after.skip if after is not None and after.at_us == last else 0))

    def __str__(self) -> str:
        return f"{self.at_us}.{self.skip}"

    def rest_of(self, changes: Iterable[Change]) -> list[Change]:
        """Those behind it. What is new is before it, and what a change says may have changed since."""
        rest = [one for one in changes if _micros(one) <= self.at_us]
        same = sum(_micros(one) == self.at_us for one in rest)
        return rest[min(self.skip, same) :]


def _micros(change: Change) -> int:
    return to_micros(change.at.timestamp())


def orders(lines: Iterable[AuditLine], names: Sequence[str]) -> Iterator[Change]:
    """What operators did; ``names`` are those of the sources."""
    for line in lines:
        count = "" if line.count is None else f" ({line.count})"
        detail = "".join(f": {one}" for one in (line.detail, line.why) if one)
        source = line.name if line.name in names else None
        yield Change(
            line.at, "order", f"{line.who}: {line.what} {line.name}{count}{detail}", source, line.who
        )


def troubles(incidents: Iterable[Incident]) -> Iterator[Change]:
    """The troubles that began, and those that ended."""
    for one in incidents:
        yield Change(one.began_at, "began", one.what, one.source)
        if one.ended_at is not None:
            yield Change(one.ended_at, "ended", one.what, one.source)


def processes(workers: Iterable[WorkerStatus], departures: Iterable[Departure]) -> Iterator[Change]:
    """Who came, and who is here no more."""
    for one in workers:
        if one.is_alive or one.is_missed:
            yield _came(one)
        if one.is_missed:
            yield Change(one.beat_at, "lost", f"{one.role} {one.name} is not heard of any more", who=one.name)
    for left in departures:
        if left.back_at is not None:
            seconds = (left.back_at - left.at).total_seconds()
            what = (
                f"{left.role} {left.name} was not heard of for {seconds:.0f} s: it stood still, and goes on"
            )
            yield Change(left.at, "lost", what, who=left.name)
            continue
        yield _came(left)
        if left.is_lost:
            what = (
                f"{left.role} {left.name} was lost: it has not ended in order, and another has its name since"
            )
            yield Change(left.at, "lost", what, who=left.name)
        else:
            yield Change(left.at, "left", f"{left.role} {left.name} has ended", who=left.name)


def _came(one: WorkerStatus | Departure) -> Change:
    return Change(one.started_at, "came", f"{one.role} {one.name} ({one.version})", who=one.name)


def new_errors(source: str, marks: Marks, span: timedelta) -> Iterator[Change]:
    """The kinds of errors that there were in the last ``span``, and none of in as long before it.

    Where not all of that time before is kept, none of them is called new: it is said from when on it is.
    """
    minutes, now = int(span.total_seconds()) // 60, int(marks.now_us / MICROS) // 60
    before = intervals_of(marks.between([now - 2 * minutes, now - minutes]))
    since = intervals_of(marks.between(range(now - minutes, now + 2)))
    known = {kind for one in before for kind in one.errors_by_kind}
    counts: dict[str, int] = {}
    first: dict[str, datetime] = {}
    for one in since:
        for kind, count in one.errors_by_kind.items():
            counts[kind] = counts.get(kind, 0) + count
            first.setdefault(kind, one.start)
    kept_from = now if marks.first is None else marks.first
    for kind, count in counts.items():
        if kind not in known:
            many = f"{count} errors" if count > 1 else "an error"
            what = f"{source}: {many} of a new kind, {kind}"
            if kept_from > now - 2 * minutes:
                began = to_time(kept_from * 60 * MICROS)
                what = (
                    f"{source}: {many}, {kind}; whether they are new is not known, as nothing is kept of "
                    f"before {began:%Y-%m-%d %H:%M} UTC"
                )
            yield Change(first[kind], "errors", what, source)
