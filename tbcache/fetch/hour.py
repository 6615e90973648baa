"""Writing the usage hour by hour to the database, where it outlasts Redis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from tbcache.io import utc_now
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.monitoring import UsageMonitor
from tbcache.repository.error import AnswerRefused, RepositoryUnavailable
from tbcache.repository.hour import KEPT, UsageHour
from tbcache.store import Refused, Unavailable
from tbcache.store.wire import MICROS, to_time

if TYPE_CHECKING:
    from tbcache.repository import SentimentRepository

#: How often a process looks whether an hour is over.
LOOK_SECONDS = 60.0
#: So long after its end an hour is written: by then all have told Redis what they counted in it.
SETTLED_MINUTES = 2
HOUR_MINUTES, DAY_HOURS = 60, 24

log = get_logger("tbcache.repository")


class HourWriter:
    """A thread that writes the hours of the last day that are over, and not in the database yet.

    Every process that writes answers has one, and writing an hour again changes nothing. Redis has the
    minutes of a day: an outage of the database, or of all who write, that is no longer leaves no gap.
    """

    def __init__(self, monitor: UsageMonitor, repository: SentimentRepository, namespace: str) -> None:
        self._monitor = monitor
        self._namespace = namespace
        self._repository = repository
        self._is_stopped = False
        #: The last hour, since the Unix epoch, up to which all is written.
        self._written = 0
        #: Why it could not be written, as it was last said: no right to a table is so for weeks.
        self._said: str | None = None
        self._thread = BackgroundThread("tbcache-hours", self._round)

    def start(self) -> None:
        """Have the thread, also in a process that was forked off."""
        if not self._is_stopped:
            self._thread.start()

    def stop(self) -> None:
        self._is_stopped = True
        self._thread.stop()

    def write(self) -> int:
        """Write what is missing, and forget what is too old; how many hours were missing.

        Raises:
          Unavailable: Redis is away. RepositoryUnavailable: the database is.
        """
        since = utc_now() - timedelta(hours=DAY_HOURS + 2)
        known = {(one.source, one.hour) for one in self._repository.hours(self._namespace, since)}
        found = [
            one
            for source in self._monitor.get_source_names()
            for one in self._over(source)
            if (one.source, one.hour) not in known
        ]
        self._repository.save_hours(self._namespace, found, utc_now() - KEPT)
        return len(found)

    def _over(self, source: str) -> Iterator[UsageHour]:
        """The hours of the last day that are over."""
        try:
            marks = self._monitor.get_marks(source)
        except Refused:
            # A damaged key tells nothing, and costs no other source its hours.
            return
        end = (int(marks.now_us / MICROS) // 60 - SETTLED_MINUTES) // HOUR_MINUTES * HOUR_MINUTES
        bounds = range(end - DAY_HOURS * HOUR_MINUTES, end + 1, HOUR_MINUTES)
        for one in marks.between(bounds):
            hour = one.start // HOUR_MINUTES * HOUR_MINUTES
            yield UsageHour(source, to_time(hour * 60 * MICROS), one.seconds, one.figures)

    def _round(self) -> float:
        hour = int(utc_now().timestamp()) // 60 - SETTLED_MINUTES
        hour //= HOUR_MINUTES
        if hour == self._written:
            return LOOK_SECONDS
        try:
            count = self.write()
        except (Unavailable, RepositoryUnavailable, AnswerRefused) as error:
            if self._said != str(error):
                log.warning("usage.not_written", reason=str(error))
            self._said = str(error)
        else:
            self._written, self._said = hour, None
            if count:
                log.info("usage.written", hours=count)
        return LOOK_SECONDS
