"""Who did what to the fleet, and when: a line for each thing that an operator did.

They stand in Redis, for all to read: the last ones, for 30 days.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from tbcache.io import utc_now
from tbcache.io.log import get_logger
from tbcache.models.error import TbcacheError
from tbcache.models.shape import Shape
from tbcache.models.untrusted import NotJson, read_json
from tbcache.store import Store, Unavailable

log = get_logger("tbcache.fleet")

KEPT = timedelta(days=30)
MOST_LINES = 10_000
#: So many lines are read in one call.
CHUNK = 500


@dataclass(frozen=True, slots=True)
class AuditLine(Shape):
    """Who did what, and when, to a source, a queue, a job or a pattern."""

    at: datetime
    who: str
    what: str
    name: str
    detail: str = ""
    """What was set, or of which it was; of a release before, the reason behind that."""
    count: int | None = None
    """Of how many jobs, keys or letters it was."""
    why: str = ""

    @property
    def mark(self) -> str:
        """Its place in the list: 32 hex digits. A moment is none: each process has a clock of its own."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


class Audit:
    """The lines of the fleet."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(
        self, who: str, what: str, name: str, detail: str = "", count: int | None = None, why: str = ""
    ) -> None:
        log.info("operator.acted", who=who, what=what, target=name, detail=detail, count=count, why=why)
        line, key = AuditLine(utc_now(), who, what, name, detail, count, why), self._store.keys.audit
        self._store.change(
            ("RPUSH", key, msgspec.json.encode(line)),
            ("LTRIM", key, -MOST_LINES, -1),
            ("EXPIRE", key, int(KEPT.total_seconds())),
        )

    def read(self, most: int, before: datetime | None = None, after: str | None = None) -> list[AuditLine]:
        """The last ``most`` lines of the last 30 days, the last first, of those ``before`` a moment, and
        of those that stand ``after`` the line of that mark, where given; what is damaged is left out.
        Where the marked line is gone there are none: the oldest go first.
        """
        since = utc_now() - KEPT
        lines: Iterator[AuditLine] = (line for text in self._texts() if (line := _read(text)) is not None)
        if after is not None:
            lines = itertools.islice(itertools.dropwhile(lambda line: line.mark != after, lines), 1, None)
        meant = (line for line in lines if line.at > since and (before is None or line.at < before))
        return list(itertools.islice(meant, most))

    def _texts(self) -> Iterator[bytes]:
        """All lines, the last first."""
        last = b""
        for end in range(-1, -MOST_LINES - 1, -CHUNK):
            found = self._store.call("LRANGE", self._store.keys.audit, end - CHUNK + 1, end)
            is_all = len(found) < CHUNK
            # What was written since the call before has moved the lines: some were there already.
            yield from reversed(found[: found.index(last)] if last in found else found)
            if is_all:
                return
            last = found[0]


def _read(text: bytes) -> AuditLine | None:
    try:
        return read_json(text, AuditLine)
    except NotJson:
        return None


class AuditTrail:
    """Of the operator ``who``.

    Each method raises :class:`Unavailable` where Redis is away; the log has the line all the same.
    """

    def __init__(self, store: Store, who: str) -> None:
        self._audit, self._who = Audit(store), who

    def write(self, what: str, name: str, detail: str = "", why: str = "") -> None:
        self._audit.write(self._who, what, name, detail, why=why)

    def write_counted(self, what: str, name: str, detail: str, count: int, why: str = "") -> None:
        """A line with a count, where something has changed."""
        if count:
            self._audit.write(self._who, what, name, detail, count, why)

    def stops(self, name: str) -> list[AuditLine]:
        """The last word of each who has paused or drained a source or a queue since it was last resumed, the
        last first."""
        found: dict[str, AuditLine] = {}
        lines: list[AuditLine] = []
        # It is resumed by then, also by who may not read the audit, or finds it damaged or away.
        with contextlib.suppress(Unavailable):
            lines = self._audit.read(MOST_LINES)
        for line in lines:
            if line.name == name and line.what == "queue.resume":
                break
            if line.name == name and line.what in ("queue.pause", "queue.drain"):
                found.setdefault(line.who, line)
        return list(found.values())

    @contextmanager
    def in_parts(
        self, what: str, name: str, where: str, tell: Callable[[int], object], why: str = ""
    ) -> Iterator[Callable[[int], None]]:
        """Meanwhile something is done in parts, and then the audit has how many. Where it breaks off after
        some of them, by Ctrl-C too, the log has that as well, and so have the words of an error of ours."""
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            tell(more)

        try:
            yield count
        except BaseException as error:
            if done:
                reason = str(error) or type(error).__name__
                log.warning("order.broke_off", what=what, source=name, count=done, reason=reason)
                with contextlib.suppress(Unavailable):
                    self.write_counted(what, name, f"{where} (it broke off)".lstrip(), done, why)
            if done and isinstance(error, TbcacheError):
                error.args = (
                    f"It broke off after {done:,}, which are done; ask again for the rest. {error}",
                )
            raise
        try:
            self.write_counted(what, name, where, done, why)
        except Unavailable as error:
            error.args = (f"All {done:,} are done, and the audit could not be told so. {error}",)
            raise


def because(what: str, why: str) -> str:
    """``what``, and why where that is said."""
    return ": ".join(filter(None, (what, why)))
