"""What this process may spend of a source's daily budget while Redis is away.

The budget belongs to the fleet. With each beat, Redis gives a process a part of what is left of it: its
*purse* (purse.lua). Once the process is absent, Redis keeps this part from the others until the process has
told what it spent, or the UTC day is over. What it spends while Redis is there comes off its purse as well,
because the purses of the others were made at other moments, from another rest. A purse is good for one day:
after midnight, a process that is still without Redis may spend nothing.
"""

from __future__ import annotations

import threading


class Purse:
    """The purse for one source. Money is in millionths of a dollar, and days count from the Unix epoch."""

    def __init__(self) -> None:
        #: The budget of a day, which is 0 where there is none, and the most that a page costs.
        self.budget = 0
        self.page_price = 0
        self.renew()

    def renew(self) -> None:
        """Forget all, as Redis has told this process nothing: at the start, and in a forked child."""
        self._lock = threading.Lock()
        self._paid = 0
        self._left = 0
        self._day: int | None = None

    def configure(self, budget: int, page_price: int) -> None:
        """Use the source with this budget."""
        self.budget, self.page_price = budget, page_price

    @property
    def paid(self) -> int:
        """How much this process has spent so far. :meth:`receive` needs it as it was before the ask."""
        return self._paid

    def pay(self, amount: int) -> None:
        """Record that ``amount`` was spent."""
        with self._lock:
            self._paid += amount
            self._left -= amount

    def receive(self, amount: int, day: int, paid: int) -> None:
        """Take over the purse for ``day`` that Redis gave when this process had spent ``paid``."""
        with self._lock:
            self._day, self._left = day, amount - (self._paid - paid)

    def forget(self) -> None:
        """Have nothing left until the next :meth:`receive`."""
        with self._lock:
            self._day = None

    def left(self, day: int) -> int | None:
        """How much is left in the purse; None where Redis has given none for that day."""
        return self._left if self._day == day else None
