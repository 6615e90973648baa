"""The slots of one source that all of this user's commands have taken on this machine, without any Redis.

A command lives for one request, in a loop or in a cron job. What those before it have sent is in the windows
of the upstream all the same. So all of them take slots from one window, which is kept in a file
(slot_file.py), by the rules of the window in Redis: a slot stands in the file before anything is sent with
it. It is held until its request is answered, or until its hold is over where its process was killed, and is
stamped with that moment.

What cannot be written is not sent, as nobody else would know of it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import tbcache.io as io
from tbcache.io.private import Unsound
from tbcache.limiter.closure import Closures
from tbcache.limiter.process_window import ProcessWindow
from tbcache.limiter.promise import SLOWEST
from tbcache.limiter.slot_file import Held, Kept, SlotFile
from tbcache.models import Limit
from tbcache.models.untrusted import NotJson, printable

#: Who could not read or write the file may try again after so many seconds.
RETRY_SECONDS = 1.0
#: What a day has cost (millionths of a dollar) where the file that says so is damaged: more than any budget.
UNKNOWN_COST = 10**15
#: What so many days have cost is kept, those included that there were by a wrong clock.
MOST_DAYS = 10


class LocalWindow(ProcessWindow):
    """A window that is read from its file before each step, and written to it after each that changes it."""

    def __init__(
        self,
        file: SlotFile,
        source: str,
        closures: Closures,
        hold_seconds: float,
        day: Callable[[], int],
        may_fall_back: Callable[[], bool],
    ) -> None:
        """``day`` gives the present UTC day, counted from the Unix epoch."""
        self._file, self._source, self._closures = file, source, closures
        self._hold_seconds, self._day = hold_seconds, day
        super().__init__(may_fall_back)

    def renew(self) -> None:
        """Begin as a process that has sent nothing: at the start, and in a forked child, whose parent goes on
        to hold the lock of the file.
        """
        super().renew()
        self._file.renew()
        self._step, self._depth = threading.RLock(), 0
        #: Why the file cannot be used; None where it can.
        self._problem: str | None = None
        #: What each slot that is held may cost, and what each day has cost, in millionths of a dollar.
        self._prices: dict[str, int] = {}
        self._paid: dict[int, int] = {}
        #: How much of what this process has paid is in the file.
        self._written = 0

    @contextlib.contextmanager
    def together(self, *, is_look: bool = False) -> Iterator[None]:
        with self._step:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._begin(is_look=is_look)
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._file.unlock()

    def take(self, slot: str, cost: int, limits: Sequence[Limit], held_seconds: float) -> float:
        with self.together():
            if self._problem is not None:
                return RETRY_SECONDS
            wait = super().take(slot, cost, limits, held_seconds)
            return RETRY_SECONDS if wait == 0.0 and not self._save() else wait

    def wait(self, limit: Limit, cost: int) -> float:
        with self.together(is_look=True):
            return RETRY_SECONDS if self._problem is not None else super().wait(limit, cost)

    def must_report(self, slot: str, cost: int) -> None:
        """There is nobody to whom the end of a slot could be reported."""

    def commit(self, slot: str, cost: int) -> None:
        with self.together():
            super().commit(slot, cost)
            self._save()

    def release(self, slot: str, cost: int) -> None:
        with self.together():
            super().release(slot, cost)
            self._save()

    def clear(self) -> None:
        with self.together():
            super().clear()
            self._closures.close(self._source, 0.0, "")
            self._save()

    def why_not(self, limits: Iterable[Limit], why_alone: str) -> str:
        if self._problem is not None:
            return f"{why_alone}, and what was sent before is not known: {self._problem}"
        return f"{why_alone}: this user's commands on this machine have used the limit"

    # The file

    def _begin(self, *, is_look: bool) -> None:
        """Lock the file, and take over what it says."""
        self._problem = None
        try:
            self._file.lock(is_made=not is_look)
            kept = self._file.read()
            self._take_over(kept)
            if not is_look and not kept.at.is_of_this_start:
                # Its age is written down: it would be told anew by the wall clock, and be 0 again and again
                # where that was set back.
                self._save()
        except FileNotFoundError as error:
            # One that only looks makes no file.
            if is_look:
                self._take_over(Kept())
            else:
                self._fail(error)
        except NotJson as error:
            # Whatever was sent is old when this is over. It is written down, so that it is waited for once.
            seconds = self._hold_seconds + self._longest_window(()) * SLOWEST
            self._closures.close(self._source, seconds, f"{self._file.path} is damaged: {error}")
            self._paid = {self._day(): UNKNOWN_COST}
            self._save()
        except (Unsound, OSError) as error:
            self._fail(error)

    def _take_over(self, kept: Kept) -> None:
        now, day = io.now(), self._day()
        # Nobody has said what these slots were used for: they count in full, and for what they may have cost.
        over = {name for name, one in kept.held.items() if one.until <= now}
        # A clock that is set for once is no new day, and no end of the day that it is.
        days = {*sorted(kept.paid)[-MOST_DAYS:], day} & kept.paid.keys()
        self._paid = {one: kept.paid[one] for one in days}
        if lost := sum(kept.held[name].price for name in over):
            self._paid[day] = self._paid.get(day, 0) + lost
        self._prices = {name: one.price for name, one in kept.held.items()}
        with self._lock:
            self._stamps = {f"sent {number}": at for number, at in enumerate(kept.sent)}
            self._stamps.update((name, one.until) for name, one in kept.held.items())
            self._fallback = set(self._stamps)
            self._horizon = max(self._horizon, kept.horizon)
        self.purse.receive(self.purse.budget - self._paid.get(day, 0), day, self._written)
        if kept.closed_until is not None and kept.closed_until > now:
            self._closures.close(self._source, kept.closed_until - now, kept.closed_reason)

    def _save(self) -> bool:
        """Write what this process knows; False where that was not possible."""
        if self._problem is not None:
            return False
        now, day, paid = io.now(), self._day(), self.purse.paid
        with self._lock:
            stamps, horizon = self._stamps.copy(), self._horizon
        since = now - horizon * SLOWEST
        price = self.purse.page_price
        kept = Kept(
            sent=[at for at in stamps.values() if since < at <= now],
            held={name: Held(at, self._prices.get(name, price)) for name, at in stamps.items() if at > now},
            horizon=horizon,
            paid={**self._paid, day: self._paid.get(day, 0) + paid - self._written},
        )
        closure = self._closures.of(self._source)
        if closure is not None and closure.why == "closed":
            kept.closed_until, kept.closed_reason = closure.until, printable(closure.reason)
        try:
            self._file.write(kept)
        except OSError as error:
            self._fail(error)
            return False
        self._paid, self._written = kept.paid, paid
        return True

    def _fail(self, error: Exception) -> None:
        what = (error.strerror or f"{error}").lower() if isinstance(error, OSError) else f"{error}"
        self._problem = f"{self._file.path}: {what} (XDG_STATE_HOME says where it is)"
