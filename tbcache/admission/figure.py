"""The figures that this process counts itself: what is done without Redis, and uncertain bills."""

from __future__ import annotations

from collections import Counter

from tbcache.admission.billed import Billed
from tbcache.admission.ending import error_kind
from tbcache.admission.verdict import Ask, Go, Grant, Settlement, Verdict
from tbcache.io.log import get_logger
from tbcache.limiter import Limiter
from tbcache.models import FetchRequest
from tbcache.models.price import Bill
from tbcache.monitoring import UsageMonitor, latency_bucket
from tbcache.store import Store
from tbcache.store.wire import day_of, to_micros

log = get_logger("tbcache.admission")


class Figures:
    """Counts what this process does while no script counts it."""

    def __init__(self, store: Store, limiter: Limiter, monitor: UsageMonitor) -> None:
        self._store = store
        self._limiter = limiter
        self._monitor = monitor
        self._billed = Billed()

    def record_billed(self, grant: Grant, day: int, bill: Bill) -> None:
        """Record a bill that Redis has counted, so that it is not counted again while Redis is away; and in
        whose name it was run up.
        """
        self._pay(grant, to_micros(self._due(grant, day, bill).most))

    def count_verdict(self, ask: Ask, verdict: Verdict) -> None:
        """Count the verdict on an ask, if it is somebody's. Of pre-warms those are counted that load."""
        if ask.is_asked:
            self._monitor.count(ask.source.name, {type(verdict).__name__.lower(): 1})
        elif isinstance(verdict, Go) and not ask.is_invited:
            self._monitor.count(ask.source.name, {"prewarm": 1})

    def count_settled(self, grant: Grant, settlement: Settlement) -> None:
        """Count the end of a load."""
        figures = Counter({"pages": settlement.pages})
        if settlement.seconds is not None:
            figures[f"ms{latency_bucket(settlement.seconds)}"] += 1
            figures["took"] += to_micros(settlement.seconds)
        if kind := error_kind(settlement):
            figures[f"error.{kind}"] += 1
        self._monitor.count(grant.ask.source.name, +figures)
        self.count_bill(grant, settlement.bill)

    def count_bill(self, grant: Grant, bill: Bill) -> None:
        """Count what was paid, without the items that were billed earlier today."""
        name = grant.ask.source.name
        due = self._due(grant, day_of(self._store.clock.today), bill)
        if due.most:
            self._monitor.bill(name, due)
            self._pay(grant, to_micros(due.most))
            self._limiter.process_window(name).purse.pay(to_micros(due.most))

    def _due(self, grant: Grant, day: int, bill: Bill) -> Bill:
        """``bill`` without the items that were counted before."""
        name = grant.ask.source.name
        return self._billed.due(name, day, self._limiter.epochs.of(name), bill)

    def _pay(self, grant: Grant, micros: int) -> None:
        name = grant.ask.source.name
        self._monitor.callers.pay(name, grant.ask.caller, micros)
        # A function as a source is asked for other things than symbols.
        if isinstance(grant.ask.request, FetchRequest):
            self._monitor.symbol_costs.pay(name, grant.ask.request.symbols, micros)

    def count_uncertain(self, grant: Grant, bill: Bill) -> None:
        """Log and count money that may have been spent. Nobody knows whether it was: it counts as spent, so
        that no budget is exceeded.
        """
        request = grant.ask.request
        log.warning("bill.uncertain", source=request.source, key=request.key, most=bill.dollars)
        self._monitor.count(request.source, {"uncertain": to_micros(bill.dollars)})
