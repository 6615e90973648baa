"""The usage monitor: what every worker did today, what it cost, and who is alive.

Figures stand in one hash per source and UTC day, kept 31 days, as
``worker:metric``; totals are sums over the workers, made when they are read.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import re
import socket
import threading
import time
import uuid
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from numbers import Number
from typing import Annotated, Any, NamedTuple

import msgspec

from tbcache.errors import InvalidRequest
from tbcache.io.background import BackgroundThread
from tbcache.io.singleton import singleton
from tbcache.limiter.member import Membership
from tbcache.models import utc_now
from tbcache.models.foreign import NotJson, printable, quoted, read_json, whole
from tbcache.models.price import Bill
from tbcache.settings import Settings, get_settings
from tbcache.settings.log import get_logger
from tbcache.sources import check_name, get_declared, source_names, warn_of_near_miss
from tbcache.sources.profile import Profile, profile_of, read_profile
from tbcache.store import Refused, Store, Unavailable, get_store
from tbcache.store.count import BILL_ONCE, COUNT, BillOnce, Count
from tbcache.store.layout import ALIVE_SECONDS, LAYOUT, TTL_MS
from tbcache.store.minute import Minutes
from tbcache.store.name import OTHER, Names
from tbcache.store.refusal import Refusal, read_refusals
from tbcache.store.state import Failing, read_failing
from tbcache.store.wire import MICROS, day_of, midnight_of, to_micros
from tbcache.version import __version__

log = get_logger("tbcache.fleet")

FLUSH_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0
#: For so long a process that is heard of no more stays on the list.
LISTED_SECONDS = 3600.0
#: A scheduler that has gone is missed for longer: nothing else shows that nothing is kept warm.
MISSED_SECONDS = 86_400.0
KEPT_DAYS = 30
#: So many ids that are billed once a day are kept for Redis while it is away; what is read beyond them
#: counts as new. And so many go to it at a time.
MOST_OWED, MOST_BILLED = 100_000, 1_000
#: More US dollars than any request costs.
MOST_COST = 1e6
#: Of what one process has in hand, so much is told.
MOST_SHOWN = 64
#: Who takes slots, and so has a share of the limits while Redis is away.
FETCHING_ROLES = {"worker", "client"}

#: What no later fetch mends by itself.
HOPELESS = {"auth", "not_entitled"}

# Latency buckets grow by a quarter each: a percentile is at most 12% off.
_GROWTH = 1.25
_FIRST_MS = 0.1
_LATENCY = re.compile(r"ms\d{1,2}")


def latency_bucket(seconds: float) -> int:
    """The bucket that counts a latency of ``seconds``."""
    bucket, edge = 0, _FIRST_MS
    while edge < seconds * 1000 and bucket < 80:
        bucket, edge = bucket + 1, edge * _GROWTH
    return bucket


def process_name(settings: Settings) -> str:
    """How this process is named in figures and heartbeats."""
    name = settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"
    return re.sub(r"[^A-Za-z0-9_.\-]", "-", name)[:64]


@dataclass(frozen=True, slots=True)
class SourceMetrics:
    """One source on one UTC day. Latency in seconds, cost in US dollars."""

    source: str
    requests_today: int = 0
    hits_today: int = 0
    stale_today: int = 0
    misses_today: int = 0
    joins_today: int = 0
    waits_today: int = 0
    pages_today: int = 0
    errors_today: int = 0
    errors_by_kind: Mapping[str, int] = field(default_factory=dict)
    cache_hit_rate: float = 0.0
    cost_today: float = 0.0
    #: What of the cost is no more than a bound: the requests were sent, and their answers lost or not read.
    uncertain_cost_today: float = 0.0
    latency_p50: float | None = None
    latency_p95: float | None = None

    @property
    def served_today(self) -> int:
        """Asks that were answered from the cache."""
        return self.hits_today + self.stale_today

    @property
    def failed_today(self) -> int:
        """Asks that were refused because the last fetch had failed."""
        return self.requests_today - self.served_today - self.misses_today


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures of several sources together. ``cost`` in US dollars."""

    requests: int = 0
    served: int = 0
    misses: int = 0
    errors: int = 0
    cost: float = 0.0

    @classmethod
    def of(cls, metrics: Iterable[SourceMetrics]) -> Totals:
        each = list(metrics)
        return cls(
            requests=sum(one.requests_today for one in each),
            served=sum(one.served_today for one in each),
            misses=sum(one.misses_today for one in each),
            errors=sum(one.errors_today for one in each),
            cost=round(sum(one.cost_today for one in each), 6),
        )

    @property
    def cache_hit_rate(self) -> float:
        """0..1; stale answers count as hits."""
        return self.served / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class RecentMetrics:
    """One source in the last ``seconds``: latency in seconds, cost in US dollars.

    ``failed`` counts the errors that the source is to blame for, and ``settled`` the fetches that came to
    an end, good or bad. ``last`` are the failures since a fetch last went well, some minutes ago or more;
    None where the last fetch went well. ``plain`` counts the requests that ask for words, as the plan has
    refused the cashtag.
    """

    source: str
    seconds: float = 0.0
    requests: int = 0
    hits: int = 0
    stale: int = 0
    misses: int = 0
    settled: int = 0
    errors: int = 0
    failed: int = 0
    errors_by_kind: Mapping[str, int] = field(default_factory=dict)
    cache_hit_rate: float = 0.0
    cost: float = 0.0
    latency_p95: float | None = None
    last: Failing | None = None
    plain: int = 0

    @property
    def kinds(self) -> Sequence[str]:
        """Of which kinds the last failures are."""
        return self.last.kinds if self.last else sorted(self.errors_by_kind)

    @property
    def is_failing(self) -> bool:
        """True where most fetches failed, or the last ones did: three, or one that no later one mends."""
        last = self.last
        is_sure = last is not None and (last.count >= 3 or not HOPELESS.isdisjoint(last.kinds))
        return is_sure or self.is_mostly_failing

    @property
    def is_mostly_failing(self) -> bool:
        """True where every fetch failed, or most of them did."""
        return self.failed > 0 and (
            self.failed >= self.settled or (self.failed >= 3 and 2 * self.failed >= self.settled)
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What a process does at the moment: its threads, the busy ones, the jobs in hand.

    ``serves`` are the sources whose jobs a worker takes; None where it does not say.
    """

    threads: int = 0
    busy: int = 0
    doing: tuple[str, ...] = ()
    serves: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A process of the fleet: its last heartbeat (``age`` in seconds) and what it does.

    ``layout`` is that of the keys it reads and writes in Redis. ``refused`` is what Redis refuses it of the
    keys of a source, by the source's name.
    """

    name: str
    role: str
    pid: int
    host: str
    threads: int
    busy: int
    doing: tuple[str, ...]
    started_at: datetime
    beat_at: datetime
    age: float
    is_alive: bool
    version: str = ""
    layout: int = LAYOUT
    #: What it was started with; None of a process that does not say.
    profile: Profile | None = None
    refused: Mapping[str, Refusal] = field(default_factory=dict)


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Heartbeat(msgspec.Struct, frozen=True):
    """What a process says of itself each second."""

    role: str
    pid: _Count
    host: str
    threads: _Count
    busy: _Count
    doing: tuple[str, ...]
    started_at: _Moment
    beat_at: _Moment
    # 0.1.0 says nothing of these.
    version: str = "0.1.0"
    layout: int = 1
    profile: msgspec.Raw = msgspec.Raw(b"null")
    refused: msgspec.Raw = msgspec.Raw(b"{}")


class _Batch(NamedTuple):
    """Figures on their way; ``id`` makes sure that they arrive once. ``day`` since the epoch.

    ``once`` are ids with their prices (millionths of a dollar), of which only those cost something that
    nobody has been billed for on that day.
    """

    id: str
    source: str
    day: int
    figures: Counter[str]
    once: Mapping[str, int]


_MONITORS: weakref.WeakSet[UsageMonitor] = weakref.WeakSet()


class UsageMonitor:
    """Counts in batches and reads what all have counted."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self.worker = process_name(settings)
        self.names = Names(store)
        self._minutes = Minutes(store)
        self._known = source_names(settings)
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._counted: dict[tuple[str, int], Counter[str]] = {}
        #: By the same, what Redis must be told of that is billed once a day; there are figures beside it.
        self._owed: dict[tuple[str, int], dict[str, int]] = {}
        self._sending: list[_Batch] = []
        self._is_known_at_exit = False
        self._flusher = BackgroundThread("tbcache-usage", self._flush_round)
        self._beat_round: Callable[[], None] = lambda: None
        self._beater = BackgroundThread("tbcache-heartbeat", self._beat_on)
        # Before Redis takes note of us: what it does not know of yet must not be given away again.
        store.breaker.on_return(self._tell, is_first=True)
        self._membership = Membership(store)
        #: When to look next (monotonic) for processes of other versions, and which were told of.
        self._look_at = 0.0
        self._profiles: dict[tuple[tuple[str, ...] | None, int], msgspec.Raw] = {}
        self._told_of: set[str] = set()
        _MONITORS.add(self)

    # Counting

    def record_request(
        self, source: str, success: bool = True, cached: bool = False, cost: float = 0.0
    ) -> None:
        """Count one request made outside the pipeline. ``cost`` is in US dollars.

        ``source`` may be any name. The figures of more than 100 names that are no configured sources
        are counted together, as those of ``other``.

        Raises:
          InvalidRequest: a cost that is no number from 0 to 1e6, or a source that is no name.
        """
        place = source if source in self._known or self.note(source, stacklevel=3) else OTHER
        micros = _micros_of(cost)
        figures = Counter({"hit": 1} if cached else {"go": 1, "ended": 1})
        if not success:
            figures["error.other"] += 1
        if micros:
            figures["cost"] += micros
        self.count(place, figures)

    def note(self, source: str, stacklevel: int = 2) -> bool:
        """Have a place for a name that is no configured source; False where 100 others have one.

        The first time it is compared with the names of the configured sources.

        Raises:
          InvalidRequest: it is no name.
        """
        if not self.names.is_noted(check_name(source)):
            warn_of_near_miss(source, self._settings, stacklevel + 1)
        return self.names.note(source)

    def count(self, source: str, figures: Mapping[str, int]) -> None:
        """Add figures to today's; they reach Redis within a second, exactly once."""
        key = (source, day_of(self._store.clock.today))
        with self._lock:
            counter = self._counted.get(key)
            if counter is None:
                counter = self._counted[key] = Counter()
            for metric, by in figures.items():
                counter[metric] += by
        self._start_flushing()

    def bill(self, source: str, bill: Bill) -> None:
        """Add what answers cost that were read while Redis was away.

        Of what is billed once a day, others may have read the same: which of it is new, Redis says when it
        is back.
        """
        key, dollars = (source, day_of(self._store.clock.today)), bill.dollars
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
            return self._flush()
        except Unavailable:
            return False

    def _flush(self) -> bool:
        # One at a time: what another thread has in hand is neither sent, nor here to be sent.
        with self._flushing:
            return self._send_all()

    def _send_all(self) -> bool:
        with self._lock:
            # One batch for each at a time: however long Redis is away, there are no more to send.
            waiting = {(batch.source, batch.day) for batch in self._sending}
            for key in [key for key in self._counted if key not in waiting]:
                figures, once = self._counted.pop(key), self._owed.pop(key, {})
                self._sending.append(_Batch(uuid.uuid4().hex, *key, figures, once))
            sending, self._sending = deque(self._sending), []
        unsent = []
        try:
            while sending:
                # What one source's keys refuse holds up no other's.
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
        """Send all that was counted while Redis was away.

        Raises:
          Unavailable: it is away again.
        """
        # First the batches that were on their way already, then what was counted since.
        self._flush()
        self._flush()

    def _send(self, batch: _Batch) -> None:
        keys, source = self._store.keys, batch.source
        if source not in self._known and not self.names.tell(source):
            source = OTHER
            self.names.tell(source)
        # Before: what is kept of a minute is what there was at its start.
        self.keep_minute(source)
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
        dollars = self._settings.source(source).daily_budget if source in self._known else None
        return to_micros(dollars or 0)

    def _start_flushing(self) -> None:
        if not self._is_known_at_exit:
            self._is_known_at_exit = True
            atexit.register(self.flush)
        # Also while it runs: this may be its last round.
        self._flusher.start(after=FLUSH_SECONDS)

    def _flush_round(self) -> float | None:
        is_done = self.flush()
        with self._lock:
            is_over = self._store.breaker.is_closed or (is_done and not self._counted)
        return None if is_over else FLUSH_SECONDS

    # Reading

    def get_source_metrics(self, source: str, day: datetime | None = None) -> SourceMetrics:
        """The source's figures of ``day`` (default: today, UTC); zeros for a name that nobody has used.

        While Redis is away they are those of this process since then.

        Raises:
          InvalidRequest: ``source`` is no name.
        """
        return _metrics(source, _sum(self._read(source, day)))

    def get_recent_metrics(self, source: str) -> RecentMetrics:
        """The source's figures of the last 5 minutes, or since the first beat of a younger fleet.

        Zeros while Redis is away.

        Raises:
          InvalidRequest: ``source`` is no name.
        """
        try:
            found = self._minutes.recent(check_name(source))
        except Unavailable:
            return RecentMetrics(source)
        recent = _recent(source, *found)
        return replace(recent, last=self._last(source)) if recent.failed else recent

    def _last(self, source: str) -> Failing | None:
        with contextlib.suppress(Unavailable):
            return read_failing(self._store, source)
        return None

    def get_source_names(self) -> list[str]:
        """The configured sources, and after them the other names that were used within 31 days."""
        return [*self._known, *(name for name in self.names.all() if name not in self._known)]

    def get_worker_metrics(self, source: str, day: datetime | None = None) -> dict[str, SourceMetrics]:
        """The source's figures of ``day``, by worker."""
        by_worker: dict[str, Counter[str]] = {}
        for (worker, metric), value in self._read(source, day).items():
            by_worker.setdefault(worker, Counter())[metric] += value
        return {worker: _metrics(source, figures) for worker, figures in sorted(by_worker.items())}

    def days_back(self, count: int) -> list[datetime]:
        """The last ``count`` UTC days, today first, as the server sees it; at most those that are kept."""
        today = self._store.clock.today
        return [today - timedelta(days=back) for back in range(min(count, KEPT_DAYS))]

    def get_usage_summary(self, day: datetime | None = None) -> dict[str, Any]:
        """All sources together: total_requests_today, average_cache_hit_rate, total_cost_today, sources."""
        sources = {name: self.get_source_metrics(name, day) for name in self.get_source_names()}
        total = Totals.of(sources.values())
        return {
            "total_requests_today": total.requests,
            "total_errors_today": total.errors,
            "total_cost_today": total.cost,
            "average_cache_hit_rate": total.cache_hit_rate,
            "sources": sources,
        }

    def _read(self, source: str, day: datetime | None) -> Counter[tuple[str, str]]:
        when = day or self._store.clock.today
        check_name(source)
        # What is being sent is there already, or not yet, and may be read neither twice nor not at all.
        with self._flushing:
            return self._stored(source, when) + self._unsent(source, day_of(when))

    def _stored(self, source: str, day: datetime) -> Counter[tuple[str, str]]:
        figures: Counter[tuple[str, str]] = Counter()
        try:
            with self._store.guard():
                stored = self._store.client.hgetall(self._store.keys.usage(source, day))
        except Unavailable:
            stored = {}
        for name, value in stored.items():
            worker, _, metric = printable(name).partition(":")
            count = whole(value)
            if metric and count is not None:
                figures[worker, metric] += count
        return figures

    def _unsent(self, source: str, day: int) -> Counter[tuple[str, str]]:
        figures: Counter[tuple[str, str]] = Counter()
        with self._lock:
            own = self._counted.get((source, day), Counter()), self._owed.get((source, day), {})
            waiting = [(one.figures, one.once) for one in self._sending if one[1:3] == (source, day)]
            for counted, owed in (own, *waiting):
                for metric, by in counted.items():
                    figures[self.worker, metric] += by
                if owed:
                    figures[self.worker, "cost"] += sum(owed.values())
        return figures

    # Heartbeats

    def keep_beating(self, role: str, report: Callable[[], Load] = lambda: Load()) -> None:
        """Beat each second, in a thread, until :meth:`leave`; ``report`` says what is being done."""
        with self._lock:
            if self._beater.is_running:
                return
            started_at = utc_now()
            self._beat_round = lambda: self.beat(role, started_at=started_at, load=report())
            self._beater.start()
            if role in FETCHING_ROLES:
                self._membership.start()
            atexit.register(self.leave)

    def beat(self, role: str, *, started_at: datetime, load: Load | None = None) -> None:
        """Say that this process is alive, and shares its sources' limits where ``role`` does.

        Does nothing while Redis is away.
        """
        load = load or Load()
        mark = Heartbeat(
            role,
            os.getpid(),
            socket.gethostname(),
            load.threads,
            load.busy,
            load.doing,
            started_at,
            utc_now(),
            __version__,
            LAYOUT,
            self._profile(load.serves),
            msgspec.Raw(msgspec.json.encode(self._store.refusals.lasting())),
        )
        key = self._store.keys.workers
        try:
            with self._store.guard():
                pipe = self._store.client.pipeline(transaction=False)
                pipe.hset(key, self.worker, msgspec.json.encode(mark))
                pipe.expire(key, int(MISSED_SECONDS))
                # Redis may have lost what it holds, or another layout may have come.
                pipe.hsetnx(self._store.keys.layout, "layout", LAYOUT)
                pipe.hsetnx(self._store.keys.layout, "version", __version__)
                pipe.pexpire(self._store.keys.layout, TTL_MS)
                pipe.hget(self._store.keys.layout, "layout")
                answers = pipe.execute(raise_on_error=False)
                # First: a damaged list of workers must not hide that another layout has come.
                if answers[-1] != str(LAYOUT).encode():
                    self._store.breaker.greet_again()
                for error in filter(_is_error, answers):
                    raise error
            if role in FETCHING_ROLES:
                self._membership.beat_if_idle()
            self._keep_minutes()
            self._look_for_others()
        except Unavailable:
            return

    def _profile(self, serves: tuple[str, ...] | None) -> msgspec.Raw:
        """What this process was started with; it stays as it is, but for the sources that code declares."""
        known = serves, len(get_declared())
        if known not in self._profiles:
            self._profiles = {known: msgspec.Raw(msgspec.json.encode(profile_of(self._settings, serves)))}
        return self._profiles[known]

    def _keep_minutes(self) -> None:
        # Also of names that nobody has configured: what a script counts of them is not sent from here.
        for source in (*self._known, *self.names.noted):
            self.keep_minute(source)

    def keep_minute(self, source: str) -> None:
        """See to it that what there was of ``source`` when this minute began is kept.

        To be called before anything is asked: what is counted before it is of no last minute.

        Raises:
          Unavailable: Redis is away.
        """
        # Where its keys are damaged, it is told without; nothing else is the worse for it.
        with contextlib.suppress(Refused):
            self._minutes.keep(source)

    def _look_for_others(self) -> None:
        """Say once of each process of another version that it is there."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + ALIVE_SECONDS
        for worker in self.get_workers():
            is_ours = (worker.version, worker.layout) == (__version__, LAYOUT)
            if worker.is_alive and not is_ours and worker.name not in self._told_of:
                self._told_of.add(worker.name)
                log.warning(
                    "fleet.other_version",
                    who=worker.name,
                    version=worker.version,
                    layout=worker.layout,
                    ours=f"{__version__} (layout {LAYOUT})",
                )

    def _beat_on(self) -> float:
        self._beat_round()
        return HEARTBEAT_SECONDS

    def leave(self) -> None:
        """Take this process off the list, and beat no more."""
        # Its last beat must not put us on the list again.
        self._beater.stop()
        self._membership.stop()
        try:
            with self._store.guard():
                self._store.client.hdel(self._store.keys.workers, self.worker)
        except Unavailable:
            return

    def get_workers(self) -> list[WorkerStatus]:
        """Every process heard of within the hour, the living first."""
        now, found, forgotten = utc_now(), [], []
        try:
            with self._store.guard():
                key = self._store.keys.workers
                for name, data in self._store.client.hgetall(key).items():
                    status = _status(printable(name), data, now)
                    if status is None or status.age > _kept_seconds(status.role):
                        forgotten.append(name)
                    elif (status.beat_at - now).total_seconds() <= LISTED_SECONDS:
                        # One that is further ahead is not shown, but kept: our clock may be the wrong one.
                        found.append(status)
        except Unavailable:
            return []
        self._forget(forgotten)
        return sorted(found, key=lambda worker: (not worker.is_alive, worker.role, worker.name))

    def _forget(self, names: Sequence[bytes | str]) -> None:
        # Who has no right to remove them still sees the others.
        with contextlib.suppress(Unavailable), self._store.guard():
            if names:
                self._store.client.hdel(self._store.keys.workers, *names)


@singleton
def get_usage_monitor() -> UsageMonitor:
    """The usage monitor of this process."""
    return UsageMonitor(get_store(), get_settings())


def _micros_of(cost: object) -> int:
    """``cost``, of US dollars, in millionths.

    Raises:
      InvalidRequest: no number, or none that a request can cost.
    """
    dollars = math.nan
    with contextlib.suppress(ArithmeticError, TypeError, ValueError):
        dollars = float(cost) if isinstance(cost, Number) else dollars  # type: ignore[arg-type]
    if not 0 <= dollars <= MOST_COST:
        raise InvalidRequest(
            f"cost must be a number of US dollars from 0 to {MOST_COST:.0f}, not {quoted(cost)}"
        )
    return round(dollars * MICROS)


def _kept_seconds(role: str) -> float:
    """For how long a process that is heard of no more stays on the list."""
    return MISSED_SECONDS if role == "scheduler" else LISTED_SECONDS


def _is_error(answer: object) -> bool:
    return isinstance(answer, Exception)


def _status(name: str, data: bytes | str, now: datetime) -> WorkerStatus | None:
    """What a heartbeat tells; None where it is damaged."""
    try:
        mark = read_json(data, Heartbeat)
        started_at, beat_at = mark.started_at.astimezone(UTC), mark.beat_at.astimezone(UTC)
    except (NotJson, ValueError, OverflowError):
        return None
    age = (now - beat_at).total_seconds()
    return WorkerStatus(
        name=name,
        role=printable(mark.role, 20),
        pid=mark.pid,
        host=printable(mark.host, 80),
        threads=mark.threads,
        busy=mark.busy,
        doing=tuple(printable(one, 80) for one in mark.doing[:MOST_SHOWN]),
        started_at=started_at,
        beat_at=beat_at,
        age=max(0.0, age),
        is_alive=age < ALIVE_SECONDS,
        version=printable(mark.version, 20),
        layout=mark.layout,
        profile=read_profile(mark.profile),
        refused=read_refusals(mark.refused),
    )


def _sum(figures: Counter[tuple[str, str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for (_, metric), value in figures.items():
        total[metric] += value
    return total


def _metrics(source: str, figures: Counter[str]) -> SourceMetrics:
    hits, stale, misses = figures["hit"], figures["stale"], figures["go"]
    requests = hits + stale + misses + figures["failed"]
    errors = {name.removeprefix("error."): n for name, n in figures.items() if name.startswith("error.")}
    return SourceMetrics(
        source=source,
        requests_today=requests,
        hits_today=hits,
        stale_today=stale,
        misses_today=misses,
        joins_today=figures["join"],
        waits_today=figures["wait"],
        pages_today=figures["pages"],
        errors_today=sum(errors.values()),
        errors_by_kind=dict(sorted(errors.items())),
        cache_hit_rate=(hits + stale) / requests if requests else 0.0,
        cost_today=figures["cost"] / MICROS,
        uncertain_cost_today=figures["uncertain"] / MICROS,
        latency_p50=_percentile(figures, 0.50),
        latency_p95=_percentile(figures, 0.95),
    )


def _recent(source: str, seconds: float, figures: Counter[str]) -> RecentMetrics:
    day = _metrics(source, figures)
    latencies = sum(n for name, n in figures.items() if _LATENCY.fullmatch(name))
    return RecentMetrics(
        source=source,
        seconds=seconds,
        requests=day.requests_today,
        hits=day.hits_today,
        stale=day.stale_today,
        misses=day.misses_today,
        # A request that somebody recorded has no latency.
        settled=latencies or day.misses_today,
        errors=day.errors_today,
        # That there is no such symbol is no fault of the source.
        failed=day.errors_today - day.errors_by_kind.get("not_found", 0),
        errors_by_kind=day.errors_by_kind,
        cache_hit_rate=day.cache_hit_rate,
        cost=day.cost_today,
        latency_p95=day.latency_p95,
        plain=figures["plain"],
    )


def _percentile(figures: Counter[str], part: float) -> float | None:
    buckets = sorted((int(name[2:]), n) for name, n in figures.items() if _LATENCY.fullmatch(name))
    wanted = part * sum(n for _, n in buckets)
    seen = 0
    for bucket, n in buckets:
        seen += n
        if seen >= wanted:
            return float(_FIRST_MS * _GROWTH**bucket / 1000)
    return None


def _after_fork() -> None:
    # A thread of the parent may have been counting, or sending.
    for monitor in list(_MONITORS):
        monitor._lock, monitor._flushing = threading.Lock(), threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
