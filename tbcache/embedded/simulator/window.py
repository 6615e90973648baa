"""The limits of an upstream: it counts arrivals in a strict sliding window, or in a fixed one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tbcache.models import Limit

#: So many arrivals are remembered for the figure ``most``. With more, the figure is a lower bound.
REMEMBERED = 100_000


class Window:
    """One limit: at most ``limit.count`` accepted arrivals in any ``(t - window, t]``.

    Memory is bounded: the times of at most ``limit.count`` accepted arrivals, and
    of at most ``REMEMBERED`` arrivals of any kind.
    """

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        #: The most arrivals, accepted or refused, that one window has seen.
        self.most = 0
        self._accepted: deque[float] = deque()
        self._arrivals: deque[float] = deque(maxlen=REMEMBERED)

    def used(self, at: float) -> int:
        """How many accepted arrivals the window that ends at ``at`` (seconds) holds."""
        _forget(self._accepted, at - self.limit.window_seconds)
        return len(self._accepted)

    def has_room(self, at: float) -> bool:
        return self.used(at) < self.limit.count

    def record(self, at: float, accepted: bool) -> None:
        """Count an arrival; times never go back."""
        if accepted:
            self._accepted.append(at)
        _forget(self._arrivals, at - self.limit.window_seconds)
        self._arrivals.append(at)
        self.most = max(self.most, len(self._arrivals))

    def reading(self, at: float) -> Reading:
        used = self.used(at)
        opens_in = self._accepted[0] + self.limit.window_seconds - at if used else 0.0
        return Reading(self.limit, used, opens_in)

    def forget_figures(self) -> None:
        """Set ``most`` to 0. What counts against the limit stays."""
        self._arrivals.clear()
        self.most = 0


class FixedWindow(Window):
    """A window that begins with an arrival and ends ``limit.window_seconds`` later, when all slots are free
    again.

    It accepts every caller that keeps to a sliding window, and some that do not; ``most`` reveals those.
    """

    def used(self, at: float) -> int:
        if self._accepted and self._accepted[0] <= at - self.limit.window_seconds:
            self._accepted.clear()
        return len(self._accepted)


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of one limit. In ``opens_in`` seconds the oldest counted arrival leaves its window."""

    limit: Limit
    used: int
    opens_in: float

    @property
    def remaining(self) -> int:
        return max(0, self.limit.count - self.used)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Whether a request was accepted, and the state of every limit after it."""

    accepted: bool
    readings: tuple[Reading, ...]
    today: int

    @property
    def tightest(self) -> Reading:
        return tightest(self.readings)


def tightest(readings: Sequence[Reading]) -> Reading:
    """The limit with the fewest requests left; of several, the one that opens last."""
    return min(readings, key=lambda reading: (reading.remaining, -reading.opens_in))


class LimitSet:
    """All limits of one source. An arrival is accepted where every one of them has room.

    ``lower`` adds limits to those of the source, which count from then on. ``window`` is the kind of window
    for all of them.
    """

    def __init__(self, limits: Iterable[Limit], window: type[Window] = Window) -> None:
        self._window = window
        self._own = tuple(window(limit) for limit in limits)
        self._lowered: tuple[Window, ...] = ()
        self._day: object = None
        self._today = 0

    @property
    def windows(self) -> tuple[Window, ...]:
        return self._own + self._lowered

    def lower(self, limits: Iterable[Limit]) -> None:
        self._lowered = tuple(self._window(limit) for limit in limits)

    def arrive(self, at: float, day: object = None) -> Arrival:
        """Count an arrival at ``at`` (monotonic seconds) on the UTC ``day``, and say whether it is
        accepted.
        """
        windows = self.windows
        accepted = all(window.has_room(at) for window in windows)
        for window in windows:
            window.record(at, accepted)
        if day != self._day:
            self._day, self._today = day, 0
        self._today += accepted
        return Arrival(accepted, tuple(window.reading(at) for window in windows), self._today)


def _forget(times: deque[float], until: float) -> None:
    while times and times[0] <= until:
        times.popleft()
