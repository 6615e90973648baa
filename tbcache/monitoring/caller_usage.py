"""What each caller asks for, and where its answers come from.

What a process answers from its own memory is not counted: such an answer costs nobody anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tbcache.models.caller import current_caller
from tbcache.monitoring.bounded_hash import Hints
from tbcache.settings import Settings
from tbcache.settings.caller import account_of
from tbcache.store import Store
from tbcache.store.wire import MICROS

#: Whose the asks of the callers are for whom there is no room. No caller has such a name.
OTHERS = "(others)"
#: What the loads of a caller came to (millionths of a dollar) stands beside the origins of its answers.
PAID = "paid"


@dataclass(frozen=True, slots=True)
class CallerMetrics:
    """What a caller has asked of a source on a day (UTC), and where its answers came from.

    ``cost_most`` is what the loads that were begun in its name have cost at most (US dollars): an item that
    is billed once a day counts for each process that has read it. Who joined another's load paid nothing.
    As the other counts it is a hint: what a process has counted within a second is lost with it, and so is
    what it cannot tell Redis. The bill of a source is exact, and counted elsewhere. ``prewarms`` are the
    fetches that were queued in its name for which nobody has asked: they stand beside its ``requests``.
    """

    hits: int = 0
    stale: int = 0
    live: int = 0
    failed: int = 0
    cost_most: float = 0.0
    prewarms: int = 0

    @property
    def requests(self) -> int:
        return self.hits + self.stale + self.live + self.failed

    @property
    def hit_rate(self) -> float | None:
        """The part of its asks that an answer of the cache was given to; None without any."""
        return (self.hits + self.stale) / self.requests if self.requests else None

    def __add__(self, other: CallerMetrics) -> CallerMetrics:
        return CallerMetrics(
            self.hits + other.hits,
            self.stale + other.stale,
            self.live + other.live,
            self.failed + other.failed,
            self.cost_most + other.cost_most,
            self.prewarms + other.prewarms,
        )

    @classmethod
    def of(cls, counts: Counter[str]) -> CallerMetrics:
        """From what :meth:`CallerUsage.read` has found."""
        answers = (counts["cache"], counts["stale"], counts["live"], counts["failed"])
        return cls(*answers, counts[PAID] / MICROS, counts["prewarm"])


class CallerUsage(Hints[tuple[str, str | None, str]]):
    """Counts the asks of this process by caller, and reads those of the fleet."""

    def __init__(self, store: Store, settings: Settings, wake: Callable[[], object]) -> None:
        super().__init__(store, wake, store.keys.callers, self._place)
        self._settings = settings

    def record(self, source: str, origin: str, name: str | None = None) -> None:
        """Count an ask that was answered by ``origin`` (cache, stale, live or failed), or a fetch for which
        nobody has asked (prewarm): that of a caller, or of the thread's or task's."""
        self.add((source, name or current_caller.get(), origin))

    def fail(self, source: str, name: str | None) -> None:
        """Count that a caller, or the process itself, was left without an answer."""
        self.add((source, name, "failed"))

    def pay(self, source: str, name: str | None, micros: int) -> None:
        """Count what a load cost at most that was begun in the name of a caller, or of the process itself."""
        if micros:
            self.add((source, name, PAID), micros)

    def _place(self, key: tuple[str, str | None, str]) -> tuple[str, str]:
        source, name, origin = key
        account = account_of(name or self._settings.own_caller, self._settings.caller_weights)
        return source, f"{account}:{origin}"

    def _spare(self, field: str) -> str:
        return f"{OTHERS}:{field.rpartition(':')[2]}"

    def read(self, source: str, day: datetime) -> dict[str, Counter[str]]:
        """Of each caller of ``source`` how many of its asks were answered by which origin on that day, and
        under :data:`PAID` what its loads came to.
        """
        (found,) = self.read_each(source, day)
        asks: dict[str, Counter[str]] = {}
        for field, count in found.items():
            caller, _, origin = field.rpartition(":")
            asks.setdefault(caller, Counter())[origin] += count
        return asks
