"""What this process counts, on its way to Redis: in batches, each of which arrives once."""

from __future__ import annotations

import atexit
import contextlib
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tbcache.io.background import BackgroundThread
from tbcache.io.fork import renew_in_child
from tbcache.models.price import Bill
from tbcache.settings import Settings, source_names
from tbcache.store import Refused, Store, Unavailable
from tbcache.store.count import BILL_ONCE, COUNT, BillOnce, Count
from tbcache.store.minute import Minutes
from tbcache.store.name import OTHER, Names
from tbcache.store.wire import DAY_SECONDS, midnight_of, to_micros

FLUSH_SECONDS = 1.0
#: How many ids that are billed once a day are kept for Redis while it is away, where what is read beyond them
#: counts as new; and how many go to it at a time.
MOST_OWED, MOST_BILLED = 100_000, 1_000


class _Batch(NamedTuple):
    """Figures on their way; ``id`` makes sure that they arrive once. ``day`` since the Unix epoch.

    ``once`` are ids with their prices (millionths of a dollar), of which only those cost something that
    nobody has been billed for on that day.
    """

    id: str
    source: str
    day: int
    figures: Counter[str]
    once: Mapping[str, int]


class Recorder:
    """Counts in the name of ``worker``; what it has counted reaches Redis within a second.

    ``send_hints`` sends with it what may be lost, and ``collect`` counts what has not been until then.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        worker: str,
        send_hints: Callable[[], None],
        collect: Callable[[], None],
    ) -> None:
        self.worker = worker
        self.names = Names(store)
        self.known = source_names(settings)
        self._store = store
        self._settings = settings
        self._send_hints, self._collect = send_hints, collect
        self._minutes = Minutes(store)
        self.renew()
        self._is_known_at_exit = self._is_flushing = False
        self._flusher = BackgroundThread("tbcache-usage", self._flush_round)
        # It is sent before Redis hears us: what Redis does not know of yet must not be given away again.
        store.breaker.on_return(self._tell, is_first=True)
        renew_in_child(self)

    def renew(self) -> None:
        """Begin with no figures: at the start, and in a forked child, whose parent sends its own."""
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._counted: dict[tuple[str, int], Counter[str]] = {}
        #: What Redis must be told that is billed once a day, by the same keys; there are figures beside it.
        self._owed: dict[tuple[str, int], dict[str, int]] = {}
        self._sending: list[_Batch] = []

    def count(self, source: str, figures: Mapping[str, int], day: int | None = None) -> None:
        """Add figures to today's, or to those of a day since the Unix epoch; they reach Redis within a
        second, exactly once."""
        key = (source, self._store.clock.day if day is None else day)
        with self._lock:
            counter = self._counted.get(key)
            # A flush is on its way where there are figures already.
            is_awaited = self._is_flushing and counter is not None
            if counter is None:
                counter = self._counted[key] = Counter()
            for metric, by in figures.items():
                counter[metric] += by
        if not is_awaited:
            self.wake()

    def bill(self, source: str, bill: Bill) -> None:
        """Add what answers cost that were read while Redis was away.

        Of what is billed once a day, others may have read the same: which of it is new, Redis says when it
        is back.
        """
        key, dollars = (source, self._store.clock.day), bill.dollars
        with self._lock:
            owed = self._owed.setdefault(key, {})
            if self._store.is_shared and len(owed) + len(bill.once) <= MOST_OWED:
                owed.update((id, to_micros(price)) for id, price in bill.once.items())
            else:
                dollars = bill.most
        self.count(source, {"cost": to_micros(dollars)} if dollars else {})

    def flush(self) -> bool:
        """Send what was counted; False when Redis is away and it waits for the next time."""
        try:
            with self._flushing:
                is_done = self._send_all()
                self._send_hints()
            return is_done
        except Unavailable:
            return False

    def _flush(self) -> bool:
        # One thread flushes at a time: what another has taken is neither sent, nor here to be sent.
        with self._flushing:
            return self._send_all()

    def _send_all(self) -> bool:
        self._collect()
        with self._lock:
            # There is one batch for each: however long Redis is away, there are no more to send.
            waiting = {(batch.source, batch.day) for batch in self._sending}
            for key in [key for key in self._counted if key not in waiting]:
                figures, once = self._counted.pop(key), self._owed.pop(key, {})
                self._sending.append(_Batch(uuid.uuid4().hex, *key, figures, once))
            sending, self._sending = deque(self._sending), []
        unsent = []
        try:
            while sending:
                # A refusal that is about one source's keys must not hold up the others.
                try:
                    self._send(sending[0])
                except Refused:
                    unsent.append(sending[0])
                sending.popleft()
        finally:
            with self._lock:
                self._sending = [*unsent, *sending, *self._sending]
        return not (unsent or sending)

    def _tell(self) -> None:
        """Send all that was counted while Redis was away."""
        # The batches that were on their way already come first, then what was counted since.
        self._flush()
        self._flush()

    def _send(self, batch: _Batch) -> None:
        keys, source = self._store.keys, batch.source
        if source not in self.known and not self.names.tell(source):
            source = OTHER
            self.names.tell(source)
        # This comes first: the figures of a minute are those at its start.
        self.mark_minute(source)
        self._send_bill(source, batch)
        figures = tuple(part for item in batch.figures.items() for part in item)
        usage, mark = keys.usage(source, midnight_of(batch.day)), keys.wake(source, f"batch-{batch.id}")
        ask = Count(usage, mark, keys.state(source), self.worker, self._budget(source), figures)
        self._store.run(COUNT, ask)

    def _send_bill(self, source: str, batch: _Batch) -> None:
        keys, day, ids = self._store.keys, midnight_of(batch.day), list(batch.once.items())
        for start in range(0, len(ids), MOST_BILLED):
            once = tuple(part for item in ids[start : start + MOST_BILLED] for part in item)
            mark = keys.wake(source, f"batch-{batch.id}.{start}")
            usage, billed = keys.usage(source, day), keys.billed(source, day)
            ask = BillOnce(usage, mark, billed, self.worker, self._budget(source), once)
            self._store.run(BILL_ONCE, ask)

    def _budget(self, source: str) -> int:
        """The day's budget as this process was started (millionths of a dollar); 0 for none."""
        dollars = self._settings.source(source).daily_budget if source in self.known else None
        return to_micros(dollars or 0)

    def wake(self) -> None:
        """Have all be sent within a second."""
        if not self._is_known_at_exit:
            self._is_known_at_exit = True
            atexit.register(self.flush)
        # It is started also while it runs, as this may be its last round.
        self._is_flushing = self._flusher.start(after=self._pause())

    def _flush_round(self) -> float | None:
        is_done = self.flush()
        with self._lock:
            is_over = self._store.breaker.is_closed or (is_done and not self._counted)
        return None if is_over else self._pause()

    def _pause(self) -> float:
        """For how many seconds to wait before the next flush: one, and none that a day ends in, as what is
        collected by then is that day's."""
        left = DAY_SECONDS - self._store.clock.today.timestamp() % DAY_SECONDS
        return min(FLUSH_SECONDS, left)

    @property
    def flushing(self) -> threading.Lock:
        """Held while figures are being sent: they are in Redis already, or not yet."""
        return self._flushing

    def unsent(self, source: str, day: int) -> Counter[tuple[str, str]]:
        """What Redis has not been sent yet of that day (since the Unix epoch)."""
        figures: Counter[tuple[str, str]] = Counter()
        self._collect()
        with self._lock:
            current = self._counted.get((source, day), Counter()), self._owed.get((source, day), {})
            waiting = [(one.figures, one.once) for one in self._sending if one[1:3] == (source, day)]
            for counted, owed in (current, *waiting):
                for metric, by in counted.items():
                    figures[self.worker, metric] += by
                if owed:
                    figures[self.worker, "cost"] += sum(owed.values())
        return figures

    def mark_minutes(self) -> None:
        """Keep the minute of every source."""
        # Names that nobody has configured count as well: scripts count figures of them, too.
        for source in (*self.known, *self.names.registered):
            self.mark_minute(source)

    def mark_minute(self, source: str) -> None:
        """See to it that what there was of ``source`` when this minute began is kept.

        To be called before anything is asked: what is counted before it is of no last minute.
        """
        # A source whose keys are damaged is told without it, and nothing else suffers.
        with contextlib.suppress(Refused):
            self._minutes.mark(source)
