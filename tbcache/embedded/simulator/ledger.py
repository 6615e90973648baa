"""The figures of one simulated source: what arrived, what it served, and what it would have billed."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tbcache.embedded.simulator.api import stamp
from tbcache.embedded.simulator.reply import Reply
from tbcache.embedded.simulator.stream import DAY
from tbcache.embedded.simulator.window import Window
from tbcache.models.price import Price

DROPPED = "dropped"


class Ledger:
    """The figures since the start or the last reset.

    For billing, only the ids of the current UTC day are remembered.
    """

    def __init__(self, price: Price) -> None:
        self.price = price
        self._day = 0
        self._billed_today: set[str] = set()
        self.reset()

    def reset(self) -> None:
        """Set every figure to 0. What was billed today is still not billed twice."""
        self.accepted = 0
        self.refused = 0
        self.by_status: Counter[str] = Counter()
        self.items_served = 0
        self.users_served = 0
        self.billed = 0.0
        self.first: float | None = None
        self.last: float | None = None

    def arrive(self, now: float, accepted: bool) -> None:
        """Count an arrival at ``now`` (Unix seconds)."""
        self.accepted += accepted
        self.refused += not accepted
        self.first = now if self.first is None else self.first
        self.last = now

    def record(self, answer: Reply | None, now: float) -> None:
        """Count an answer; None stands for a connection that was closed without one."""
        if answer is None:
            self.by_status[DROPPED] += 1
            return
        self.by_status[str(answer.status)] += 1
        self.items_served += len(answer.items)
        self.users_served += len(answer.users)
        if answer.status == 200:
            bill = self.price.bill(answer.items, answer.users)
            self.billed += answer.cost + bill.due(self._billed_on(int(now // DAY)))

    def _billed_on(self, day: int) -> set[str]:
        if day != self._day:
            self._day, self._billed_today = day, set()
        return self._billed_today

    def as_data(self, windows: tuple[Window, ...]) -> dict[str, Any]:
        """The figures as JSON data; money in US dollars, times in UTC."""
        return {
            "accepted": self.accepted,
            "refused": self.refused,
            "max_in_window": {str(window.limit): window.most for window in windows},
            "by_status": dict(sorted(self.by_status.items())),
            "items_served": self.items_served,
            "users_served": self.users_served,
            "billed": round(self.billed, 6),
            "first_arrival": _time(self.first),
            "last_arrival": _time(self.last),
        }


def _time(moment: float | None) -> str | None:
    return None if moment is None else stamp(moment, "%Y-%m-%dT%H:%M:%S.%fZ")
