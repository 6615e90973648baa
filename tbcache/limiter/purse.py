"""What this process may spend of a source's daily budget while Redis is away.

The budget is the fleet's. With each beat Redis gives a process a part of what is left of it, its
*purse* (purse.lua), and keeps it from the others once the process is absent, until it has told what
it spent, or the UTC day is over. What it spends while Redis is there comes off its purse as well,
as the others were told theirs at other moments. A purse is of its day: past midnight a process
that is still without Redis knows of no money.
"""

from __future__ import annotations

import threading


class Purse:
    """One source's purse. Money in millionths of a dollar, days counted since the Unix epoch."""

    def __init__(self) -> None:
        #: The day's budget, 0 for none, and what a page costs at most.
        self.budget = 0
        self.page_price = 0
        self.renew()

    def renew(self) -> None:
        """Forget all, as a process that Redis has told nothing: at the start, and after a fork."""
        self._lock = threading.Lock()
        self._paid = 0
        self._left = 0
        self._day: int | None = None

    def configure(self, budget: int, page_price: int) -> None:
        """Use the source with this budget."""
        self.budget, self.page_price = budget, page_price

    @property
    def paid(self) -> int:
        """What this process has spent so far; :meth:`receive` wants it as of before the ask."""
        return self._paid

    def pay(self, amount: int) -> None:
        """Spend what an answer costs."""
        with self._lock:
            self._paid += amount
            self._left -= amount

    def receive(self, amount: int, day: int, paid: int) -> None:
        """Take over what was given for ``day`` when this process had spent ``paid``."""
        with self._lock:
            self._day, self._left = day, amount - (self._paid - paid)

    def left(self, day: int) -> int | None:
        """What is left in it; None where nothing was given on that day."""
        return self._left if self._day == day else None
