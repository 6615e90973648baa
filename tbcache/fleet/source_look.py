"""What the fleet does with one source, as a status shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tbcache.admission import PlanDelay
from tbcache.admission.rate_limiter import RateLimiter
from tbcache.fleet.agreed import Agreed
from tbcache.fleet.answer import covering
from tbcache.fleet.directory import sure
from tbcache.fleet.expense import busiest, day_cost
from tbcache.fleet.model import LimitStatus, SourceStatus, State
from tbcache.fleet.scale import HORIZON_SECONDS, JOB_SECONDS, QueueLoad
from tbcache.fleet.snapshot import Snapshot, listed
from tbcache.fleet.trouble import LONG_SECONDS
from tbcache.fleet.warm_set import shortages_of
from tbcache.fleet.warm_sets import WarmSets
from tbcache.io import run
from tbcache.models import FetchRequest, Limit
from tbcache.monitoring import RecentMetrics, UsageMonitor
from tbcache.queue import Queue
from tbcache.settings import Settings, Source, get_sources
from tbcache.store import Refused, Store
from tbcache.store.refusal import Refusal
from tbcache.store.state import SourceState
from tbcache.store.wire import MICROS, to_time

ALONE_REASON = "Redis is away: each process goes on with its share"


class SourceLook:
    """Makes the status of a source out of a snapshot, and of what the queue and the figures tell of it.

    While Redis is away it raises Unavailable.
    """

    def __init__(self, settings: Settings, store: Store, monitor: UsageMonitor, queue: Queue) -> None:
        self._settings, self._store, self._monitor, self._queue = settings, store, monitor, queue
        self._delay = PlanDelay(store)
        self._warm = WarmSets(store, settings, monitor)
        self.sources = get_sources(settings)

    def outline(self, source: Source, snapshot: Snapshot, goes_by: Agreed) -> SourceStatus:
        """What tells of its troubles."""
        ours = self.sources.get(source.name)
        recent = sure(self._store, self._monitor.get_recent_metrics(source.name))
        state = snapshot.states[source.name]
        closure, refused = state.closure, snapshot.refused.get(source.name)
        is_spent, depth = snapshot.is_spent(source), self._queue.depth(source.name)
        prewarm = self._warm.dollars(source) if listed(source, goes_by) else None
        is_prewarm_spent = not is_spent and snapshot.has_spent(source, prewarm)
        return SourceStatus(
            name=source.name,
            state=_state(source, recent, state, refused, is_spent=is_spent),
            missing=source.missing,
            credentials=source.variables,
            base_url=source.address,
            # They are asked for where the queue may be long.
            limits=self._limits(source, snapshot) if _may_take_long(depth.waiting, source, state) else (),
            configured=tuple(map(str, ours.limits)) if ours else (),
            closed_since=closure.since if closure else None,
            closed_until=closure.until if closure else None,
            closed_reason=closure.reason if closure else None,
            failing_since=recent.since if recent.is_failing else None,
            refused_since=refused.since if refused else None,
            refused_reason=refused.reason if refused else None,
            recent=recent,
            queue=depth,
            is_served=source.name in goes_by.served,
            daily_budget=source.daily_budget,
            spent_since=snapshot.spent_at[source.name] if is_spent else None,
            spent_until=snapshot.midnight if is_spent else None,
            is_bill_readable=snapshot.bills[source.name] is not None,
            prewarm_budget=prewarm,
            prewarm_spent_until=snapshot.midnight if is_prewarm_spent else None,
            charge=source.charge,
            order=state.order,
            bound=state.bound,
        )

    def whole(self, source: Source, snapshot: Snapshot, goes_by: Agreed) -> SourceStatus:
        """All that a status shows of it."""
        outline, state = self.outline(source, snapshot, goes_by), snapshot.states[source.name]
        limits = outline.limits or self._limits(source, snapshot)
        is_limited = outline.state == "ok" and any(limit.remaining == 0 for limit in limits)
        common = listed(source, goes_by)
        # Where the hours that are kept warm lie in the plan's delay, there is nothing to keep.
        is_shut = any(run(self._delay.why_shut(source, request)) for request in common[:1])
        answers = covering(snapshot.kept[source.name])
        usage, recent = sure(self._store, self._monitor.get_source_metrics(source.name)), outline.recent
        mean = recent.latency_mean if recent else None
        seconds = goes_by.pace.get(source.name) or mean or usage.latency_mean or JOB_SECONDS
        running = outline.queue.running if outline.queue else 0
        may_run = source.is_enabled and not snapshot.is_spent(source)
        slots = tuple(map(to_time, snapshot.stamps[source.name]))
        # A held slot is stamped with the end of its hold.
        held = [one - snapshot.at for one in slots if one > snapshot.at]
        return replace(
            outline,
            state="limited" if is_limited else outline.state,
            limits=limits,
            warm=0 if is_shut else snapshot.warm[source.name],
            common=0 if is_shut else len(common),
            resting=0 if is_shut else snapshot.resting_of(source, len(common)),
            delay_hours=source.delay_hours if is_shut else 0.0,
            usage=usage,
            load=self.load(source, running, seconds, may_run=may_run),
            shortages=() if is_shut else self._shortages(source, state, common),
            day_cost=day_cost(source, answers) if source.is_enabled else None,
            busiest=busiest(answers),
            kept=snapshot.kept[source.name],
            slots=slots,
            held=len(held),
            promised=sum(state.hold is not None and left > state.hold for left in held),
        )

    def unknown(self, source: Source) -> SourceStatus:
        """What is known of it while Redis is away."""
        return SourceStatus(
            name=source.name,
            state="unknown" if source.is_enabled else "off",
            missing=source.missing,
            credentials=source.variables,
            base_url=source.address,
            limits=tuple(
                LimitStatus(str(limit), limit.count, limit.window_seconds, reason=ALONE_REASON)
                for limit in source.limits
            ),
            configured=tuple(map(str, source.limits)),
            common=len(self._settings.common_symbols),
            charge=source.charge,
        )

    def load(self, source: Source, running: int, seconds: float, *, may_run: bool) -> QueueLoad | None:
        """What waits and runs in its queue, of which a job takes so many ``seconds``; None where a key is
        damaged.
        """
        try:
            found = self._queue.backlog(source, HORIZON_SECONDS)
        except Refused:
            return None
        most = found.admissible if may_run else 0
        age = found.now / MICROS - found.oldest_ms / 1000
        return QueueLoad(
            waiting=found.waiting,
            runnable=found.waiting if most < 0 else min(found.waiting, most),
            running=running,
            oldest_seconds=max(0.0, age) if found.oldest_ms else None,
            begun_per_second=found.begun / (found.begun_us / MICROS),
            admissible_per_second=None if most < 0 else most / HORIZON_SECONDS,
            job_seconds=seconds,
        )

    def _shortages(
        self, source: Source, state: SourceState, common: Sequence[FetchRequest]
    ) -> tuple[str, ...]:
        """What the limits in force cannot keep warm; nothing of a source that nobody has configured."""
        if not (source.is_enabled and common):
            return ()
        bound = replace(source, limits=state.limits or source.limits)
        warm, share = self._warm.of(bound, common), self._settings.prewarm_share
        return tuple(shortages_of(bound, len(common), warm, share))

    def _limits(self, source: Source, snapshot: Snapshot) -> tuple[LimitStatus, ...]:
        limiter, state = RateLimiter(source, self._store), snapshot.states[source.name]
        found = [self._limit(limiter, limit) for limit in state.limits or source.limits]
        if state.order is not None and state.order.what == "pause":
            return tuple(replace(one, reset_at=None) for one in found)
        if not snapshot.is_spent(source):
            return tuple(found)
        until, reason = snapshot.midnight, f"the day's budget (${source.daily_budget:g}) is spent"
        return tuple(replace(one, reset_at=until, is_limited=True, reason=reason) for one in found)

    def _limit(self, limiter: RateLimiter, limit: Limit) -> LimitStatus:
        found = sure(self._store, run(limiter.core.look_at(limit)))
        return LimitStatus(
            limit=str(limit),
            count=limit.count,
            window_seconds=limit.window_seconds,
            used=found.used,
            remaining=found.remaining,
            reset_at=found.reset_at if found.used or found.is_limited else None,
            is_limited=found.is_limited,
            reason=found.reason,
            left_to_others=found.left_to_others,
        )


def _may_take_long(waiting: int, source: Source, state: SourceState) -> bool:
    """Whether so many jobs take longer than anybody expects, were nothing left of any limit."""
    limits = state.limits or source.limits
    return any(waiting * one.window_seconds / one.count > LONG_SECONDS for one in limits)


def _state(
    source: Source,
    recent: RecentMetrics,
    state: SourceState,
    refused: Refusal | None,
    *,
    is_spent: bool,
) -> State:
    if not source.is_enabled:
        return "off"
    if state.order is not None and state.order.what == "pause":
        return "paused"
    if state.closure is not None:
        return "closed"
    if refused is not None:
        return "refused"
    if recent.is_failing:
        return "failing"
    if state.order is not None:
        return "drained"
    return "limited" if is_spent else "ok"
