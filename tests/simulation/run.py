"""Runs a plan, and says what became of it."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tbcache.models import Limit
from tbcache.testing.simulated.kernel import MICROS, Coro, micros
from tests.simulation.plan import LASTING, OPERATED, VALUES, Plan, Step
from tests.simulation.process import LOOP, Process
from tests.simulation.world import World

MOST_PROCESSES = 7
#: By how much a clock is set that is set again and again (s).
CLOCK_STEPS = (30.0, 3.0, 0.6, -30.0, -3.0, 1.2)
#: Nobody waits longer for a slot (s).
MOST_PATIENCE = 5.0
#: Seconds within which one more job must be over, or all be, once nothing goes wrong any more.
CALM = 120.0
#: A process that comes back tells Redis of what it has sent within so many seconds.
RETURN = 1.5
#: The parts of a queue that are empty when all is over, by how they are read.
QUEUE = {
    "ZRANGE": ("interactive", "prewarm", "suspects", "interactive-tags", "prewarm-tags", "claims", "delayed"),
    "HGETALL": ("jobs", "pending", "keys", "lanes", "tries", "deaths"),
}


@dataclass(frozen=True, slots=True)
class Report:
    """``failure`` is the first promise that did not hold, and how; None where all did."""

    hash: str
    failure: str | None
    promise: str | None
    commands: int
    arrivals: int
    trace: list[str] = field(default_factory=list)


def run(
    plan: Plan, chosen: Sequence[int] | None = None, watch: Callable[[World], object] = lambda world: None
) -> Report:
    """Run the steps of ``plan``, or only those chosen by their numbers; ``watch`` sees the world first."""
    steps = plan.steps if chosen is None else [plan.steps[number] for number in chosen]
    with World(plan.seed, plan.shape, watch) as world:
        _Run(world).play(steps)
        failure = world.failures[0] if world.failures else None
        trace = list(world.last)
        if failure is not None and failure.__cause__ is not None:
            trace += traceback.format_exception(failure.__cause__)
        return Report(
            world.hash,
            str(failure) if failure else None,
            failure.promise if failure else None,
            world.oracle.count,
            len(world.upstream.arrivals),
            trace,
        )


class _Run:
    def __init__(self, world: World) -> None:
        self.world, self.kernel, self.server = world, world.kernel, world.server
        self._saved: Any = None
        self._to_load: Any = None
        self._saved_us = 0
        self._lost_at = -micros(1000.0)
        self._up_at = -micros(1000.0)
        self._storm_until = 0
        self.has_values = self.is_operated = False
        self._witnesses: set[str] | None = None
        #: The epoch in which the clock was set forward.
        self._unmended = ""
        self._window = max(limit.window_seconds for limit in world.source.limits)
        self._last_pick: Process | None = None
        self.server.listeners.append(self._watch)

    def play(self, steps: Sequence[Step]) -> None:
        self.has_values = any(step.what in VALUES for step in steps)
        self.is_operated = any(step.what in OPERATED for step in steps)
        for step in steps:
            self.kernel.at(micros(step.at), lambda step=step: self._do(step))
        self.world.run(max((step.at for step in steps), default=0.0) + 0.5)
        self._calm_down()

    def _do(self, step: Step) -> None:
        active = self.world.active
        if active:
            process = active[step.who % len(active)]
            self.world.note(f"{step.what} {process.name} {step.odd} {step.seconds}")
            WAYS[step.what](self, process, step)

    # The end

    def _calm_down(self) -> None:
        """Nothing goes wrong any more: all that was begun ends, and nothing is left."""
        world = self.world
        world.is_calm = True
        self._mend_all()
        self._cancel_some()
        # What was lost before is missed by then.
        world.run(0.6)
        self._check_idle()
        deadline, left = self.kernel.now + CALM, len(world.oracle.open_jobs)
        while not world.failures and not self._is_quiet() and self.kernel.now < deadline:
            if world.oracle.open_jobs and not any(one.kind == "worker" for one in world.active):
                world.begin("worker")
            world.run(0.5)
            if len(world.oracle.open_jobs) < left:
                deadline, left = self.kernel.now + CALM, len(world.oracle.open_jobs)
        if not world.failures and not self._is_quiet():
            waiting = [f"{task.home.name}/{task.name}" for task in self._acts()]
            world.broken(
                "liveness", f"not over after {CALM} s: jobs {world.oracle.open_jobs}, acts {waiting}"
            )
        if not world.failures and not world.has_dead:
            self._check_held()
        if not world.failures and world.oracle.is_clock_set:
            self._check_moments()
        self._stop_all()
        if not world.failures:
            self._check_rest()

    def _mend_all(self) -> None:
        world = self.world
        for process in world.living:
            process.connection.cut = ""
            process.thaw()
        if not self.server.is_up:
            self._start_server()
        self.server.thaw()
        world.upstream.mood_until = 0
        world.weather.lost, world.weather.late, world.weather.slow = 0.0, 0.02, 0.05
        if self.is_operated:
            for process in world.active[:1]:
                process.do("act resume", process.let_go_on)

    def _cancel_some(self) -> None:
        """In every loop, tasks that are cancelled while they ask: nothing stays held for them."""
        for number, process in enumerate([one for one in self.world.active if one.kind == LOOP] * 3):
            _cancel_acts(self, process, f"C{number}", 0.002)

    def _acts(self) -> list[Any]:
        return [task for task in self.kernel.tasks if task.name.startswith("act ") or task.name == "job"]

    @property
    def _waits_for_jobs(self) -> bool:
        """Whether a job is open that may run today."""
        # What one that died may have spent is kept until midnight.
        is_kept = bool(self.world.shape.budget) and not self._is_all_told
        return bool(self.world.oracle.open_jobs) and not (is_kept or self._is_spent)

    @property
    def _is_all_told(self) -> bool:
        return not (self.world.has_dead or self.world.has_untold)

    @property
    def _is_spent(self) -> bool:
        """Nothing more is asked for on this day: what may have been paid is counted as well."""
        upstream, budget = self.world.upstream, self.world.source.daily_budget
        return upstream.is_spent or (budget is not None and self._told(upstream.day) > budget - 1e-9)

    def _is_quiet(self) -> bool:
        return not self._waits_for_jobs and not self._acts() and self._is_all_with()

    def _is_all_with(self) -> bool:
        return all(process.store.is_available for process in self.world.living)

    def _stop_all(self) -> None:
        world = self.world
        if world.failures:
            return
        world.is_closing = True
        self._end_loops()
        self._stopped += [process.member for process in world.living]
        for process in world.active:
            self.kernel.spawn(process, "stop", process.stop)
        self._await_end(world.living)
        # Of one that was killed, a slot may be promised for later.
        world.run(world.lease + MOST_PATIENCE)

    def _end_loops(self) -> None:
        """A program ends in the middle of what its event loop does, which is cancelled: nothing is held."""
        loops = [one for one in self.world.active if one.kind == LOOP]
        self._stopped = [process.member for process in loops]
        for number, process in enumerate(loops):
            for act in _acts_to_cancel(self, process, f"E{number}"):
                process.do("act cancelled", act)
            after = process.chance.uniform(0.0, 0.006)
            stop = functools.partial(process.stop, 0.0)
            self.kernel.after(after, functools.partial(self.kernel.spawn, process, "stop", stop))
        self.world.run(0.01)
        self._await_end(loops)
        held = self.world.oracle.leases
        for key in self._held_leases() if loops else []:
            if key in held and held[key].process in [one.name for one in loops]:
                self.world.broken("rest", f"{key} is held by {held[key].process}, which has ended")

    def _await_end(self, some: list[Process]) -> None:
        world, until = self.world, self.kernel.now + 20.0
        while (left := [one.name for one in some if one in world.living]) and not world.failures:
            if self.kernel.now >= until:
                world.broken("liveness", f"{left} do not stop")
            world.run(0.5)

    def _check_rest(self) -> None:
        """Nothing is left."""
        world, do, source = self.world, self.server.keyspace.do, self.world.source.name
        keys = world.oracle.keys
        self._check_held()
        fleet = {member.decode() for member in do("ZRANGE", [keys.fleet(source).encode(), b"0", b"-1"])}
        if left := fleet.intersection(self._stopped):
            world.broken("rest", f"processes that have left are in the fleet: {sorted(left)}")
        self._check_queue()
        if world.shape.budget and self._is_all_told and not world.upstream.is_budget_lost:
            self._check_bill()
        for key in self.server.keyspace.names():
            if self.server.keyspace.expires_at(key) is None:
                world.broken("rest", f"{key.decode()} has no TTL")

    def _check_queue(self) -> None:
        if self.world.oracle.open_jobs:
            # There is no money for them.
            return
        source = self.world.source.name
        for command, parts in QUEUE.items():
            for part in parts:
                span = [] if command == "HGETALL" else [b"0", b"-1"]
                key = self.world.oracle.keys.queue(source, part).encode()
                if left := self.server.keyspace.do(command, [key, *span]):
                    self.world.broken("rest", f"queue {part}: {left}")

    def _check_bill(self) -> None:
        """Redis knows of each page that was paid, with it or without."""
        upstream = self.world.upstream
        told = sum(map(self._told, upstream.billed))
        paid = sum(upstream.billed.values()) - upstream.forgone
        if told < paid - 1e-9:
            self.world.broken("bill", f"Redis knows of {told:.2f} dollars, and {paid:.2f} were paid")

    def _told(self, day: int) -> float:
        """By Redis, so many dollars were paid on a day, or may have been."""
        at = datetime.fromtimestamp(day * 86400, UTC)
        usage = self.world.oracle.keys.usage(self.world.source.name, at).encode()
        return int(self.server.keyspace.do("HGET", [usage, b"spent"]) or 0) / MICROS

    def _check_held(self) -> None:
        """No slot is held for anybody, and no key's lease."""
        world, now = self.world, self.server.now_us()
        slots = world.oracle.keys.slots(world.source.name).encode()
        held = self.server.keyspace.do("ZRANGEBYSCORE", [slots, b"(%d" % (now + 2000), b"+inf"])
        held = [slot for slot in held if slot.decode().partition("#")[0] not in world.oracle.interrupted]
        # What is older than a clock that was set back may come back from a file.
        if held and not world.oracle.is_clock_set:
            world.broken("rest", f"slots are held: {held}")
        for lease in self._held_leases():
            world.broken("rest", f"{lease} is held")

    def _held_leases(self) -> list[str]:
        world, now, do = self.world, self.server.now_us(), self.server.keyspace.do
        # Where the clock was set back, they hold for as much longer, until somebody asks for the key.
        if world.oracle.is_clock_set:
            return []
        held = list[str]()
        for key in [key for key in self.server.keyspace.names() if key.startswith(b"ns:lease:")]:
            token, end = do("HMGET", [key, b"token", b"until"])
            if token and int(float(end or 0)) > now + 2000 and token.decode() not in world.oracle.interrupted:
                held.append(key.decode())
        return held

    def _check_moments(self) -> None:
        """However the clock was set, and put right, nothing that was noted is ahead of it for longer than it
        could be without that: else the source is shut, or somebody missed, until the clock comes there."""
        world, source = self.world, self.world.source.name
        # By then it is set no more, and each process has asked since.
        world.run(max(LASTING) + 2.0)
        if not any(process.limiter.epochs.of(source) for process in world.active):
            return
        now, keys = self.server.now_us() + micros(0.01), world.oracle.keys
        last = now + micros(self._window + world.lease)
        state = world.oracle._hash(keys.state(source))
        moments = {name: float(state.get(name, 0)) for name in ("lost_at", "returned_at", "demand_at")}
        noted = self.server.keyspace.do("ZRANGE", [keys.fleet(source).encode(), b"-1", b"-1", b"WITHSCORES"])
        moments |= {"last heard": float(noted[1])} if noted else {}
        ahead = [name for name, at in moments.items() if at > now]
        ahead += [name for name in ("whole_at", "left_until") if float(state.get(name, 0)) > last]
        if ahead:
            world.broken("moments", f"{ahead} are ahead of the server's clock: {state}")

    def _check_idle(self) -> None:
        """Who does nothing loads nothing; a load goes on though nobody waits for it any more."""
        world = self.world
        goes_on = [task for task in self.kernel.tasks if task.name in ("detached", "background")]
        busy = {task.home.name for task in (*self._acts(), *goes_on)}
        idle = {one.name for one in world.active}.difference(busy)
        for key in self._held_leases():
            lease = world.oracle.leases.get(key)
            if lease is not None and lease.process in idle:
                world.broken("rest", f"{key} is held by {lease.process}, which does nothing")

    # What goes wrong

    def cut(self, process: Process, how: str, seconds: float) -> None:
        process.connection.cut = how
        self.kernel.after(seconds, lambda: setattr(process.connection, "cut", ""))

    def freeze(self, process: Process, seconds: float) -> None:
        self.world.upstream.forgo(process.name)
        process.frozen_until = max(process.frozen_until, self.kernel.now_us + micros(seconds))

    def storm(self, seconds: float) -> None:
        """The network is bad."""
        self._storm_until = max(self._storm_until, self.kernel.now_us + micros(seconds))
        weather = self.world.weather
        weather.late, weather.slow, weather.lost = 0.5, 0.4, 0.05
        self.kernel.at(self._storm_until, self._clear_up)

    def _clear_up(self) -> None:
        if self.kernel.now_us >= self._storm_until and not self.world.is_calm:
            fair, weather = self.world.shape.weather, self.world.weather
            weather.late, weather.slow, weather.lost = fair.late, fair.slow, fair.lost

    def begin(self, kind: str, after: float) -> None:
        self.kernel.after(after, lambda: self._begin(kind))

    def _begin(self, kind: str) -> None:
        """One more; assumed of it (docs/limits.md): who went alone without being known is back by then, and
        one that was there before the clock was set forward has asked since."""
        world = self.world
        if world.is_closing or len(world.living) >= MOST_PROCESSES:
            return
        is_early = self.kernel.now_us < self._up_at + micros(RETURN)
        unknown = [one for one in world.living if not one.limiter.process_window(world.source.name).is_member]
        if (
            self._witnesses is not None
            or is_early
            or self._is_set_forward()
            or (unknown and self._is_anyone_away())
        ):
            self.kernel.after(0.3, lambda: self._begin(kind))
        else:
            world.begin(kind)

    def _is_set_forward(self) -> bool:
        """True until one of those who know of it has had the window mended."""
        know = [one for one in self.world.living if one.limiter.epochs.of(self.world.source.name)]
        return self._unmended == self._epoch() != "" and bool(know)

    def _epoch(self) -> str:
        state = self.world.oracle.keys.state(self.world.source.name).encode()
        return (self.server.keyspace.do("HGET", [state, b"epoch"]) or b"").decode()

    def _is_anyone_away(self) -> bool:
        return not self.server.is_up or any(
            one.connection.cut or not one.store.is_available or one.frozen_until > self.kernel.now_us
            for one in self.world.living
        )

    def restart(self, seconds: float, saved: Any = None) -> None:
        if not self.server.is_up:
            return
        self.server.stop()
        self._to_load = saved
        self.kernel.after(seconds, self._start_server)

    def _start_server(self) -> None:
        if not self.server.is_up:
            saved, self._to_load = self._to_load, None
            self.server.start(saved)
            if saved is not None:
                self.world.oracle.lose()
            self._up_at = self.kernel.now_us

    def save(self) -> None:
        self._saved, self._saved_us = self.server.keyspace.save(), self.server.now_us()

    def lose(self, saved: Any, saved_us: int, seconds: float) -> None:
        """Redis loses what came after; what is assumed of that moment stands in docs/limits.md."""
        spans = micros(self._window + self.world.lease)
        if not self.server.is_up or self.kernel.now_us < self._lost_at + spans + micros(2.0):
            return
        source, self.world.upstream.is_budget_lost = self.world.source.name, True
        self._lost_at = self.kernel.now_us
        self._witnesses = {
            one.name
            for one in self.world.living
            if one.limiter.epochs.of(source) and one.limiter.epochs.last_seen_us(source) > saved_us
        }
        self._await_missing(spans)
        if seconds:
            self.restart(seconds, saved)
        else:
            # As after a failover: nobody was away.
            self.server.load(saved)
            self.world.oracle.lose()

    def _await_missing(self, spans: int) -> None:
        missing = list(self.world.living)
        self.kernel.at(self.kernel.now_us + spans - micros(0.3), lambda: self._bring_back(missing))
        self.kernel.at(self.kernel.now_us + spans, lambda: self._check_back(missing))

    def _bring_back(self, missing: list[Process]) -> None:
        """Who was cut off at the loss is back within a lease and the window."""
        for process in missing:
            process.connection.cut = ""
            process.thaw()
        self.server.thaw()
        self._start_server()

    def _check_back(self, missing: list[Process]) -> None:
        source, current = self.world.source.name, self._epoch()
        for process in missing:
            known = process.limiter.epochs.of(source)
            if process in self.world.living and known and known != current:
                self._excuse(f"{process.name} was away for too long")

    def _excuse(self, why: str) -> None:
        self.world.note(f"beyond what is assumed: {why}")
        self.world.excused_until = self.kernel.now_us + micros(2 * (self._window + self.world.lease) + 1.0)

    def _watch(self, who: str, command: tuple[bytes, ...], answer: Any) -> None:
        """The first who asks after a loss must be one who can know of it."""
        if self._witnesses is None or isinstance(answer, Exception):
            return
        call = self.world.oracle._scripts.read(command)
        if call is None or "seen_before" not in call.arguments:
            return
        if who not in self._witnesses:
            self._excuse(f"{who} is the first who asks after the loss")
        self._witnesses = None

    def set_clock(self, seconds: float) -> None:
        """Set the server's clock, where the last loss of data, or time that it was set, is made good."""
        spans = micros(self._window + self.world.lease)
        if self.kernel.now_us >= self._lost_at + spans + micros(2.0):
            self._lost_at = self.kernel.now_us
            self.step_clock(seconds)

    def step_clock(self, seconds: float) -> None:
        """Set the server's clock, whatever it was and is."""
        self.server.skew_us += int(seconds * MICROS)
        self._unmended = self._epoch() if seconds > 0 else ""
        self.world.oracle.set_clock()
        self._await_missing(micros(self._window + self.world.lease))


def _step_for_a_while(run: _Run, process: Process, step: Step) -> None:
    """The clock is wrong, and is put right."""
    seconds = CLOCK_STEPS[step.odd % len(CLOCK_STEPS)]
    run.step_clock(seconds)
    run.kernel.after(step.seconds, lambda: run.step_clock(-seconds))


def _fetch(run: _Run, process: Process, step: Step) -> None:
    symbol, patience = f"S{run.world.number()}", float(step.odd % 4)
    process.do("act fetch", lambda: process.fetch(symbol, patience))


def _fetch_same(run: _Run, process: Process, step: Step) -> None:
    process.do("act fetch", lambda: process.fetch(f"T{step.odd % 3}", float(step.odd % 4)))


def _hold(run: _Run, process: Process, step: Step) -> None:
    process.do("act hold", lambda: process.hold(step.odd % 4 * 0.5))


def _saturate(run: _Run, process: Process, step: Step) -> None:
    process.do("act saturate", lambda: process.saturate(max(0.5, step.seconds)))


def _wait_in_line(run: _Run, process: Process, step: Step) -> None:
    process.do("act wait in line", lambda: process.wait_in_line(max(1.0, step.seconds)))


def _enqueue(run: _Run, process: Process, step: Step, lane: str = "interactive", wait: float = 0.0) -> None:
    symbol = f"T{step.odd % 3}" if step.odd % 2 else f"Q{run.world.number()}"
    delay = 0.0 if step.odd % 3 else 0.5
    process.do("act enqueue", lambda: process.enqueue(symbol, lane, delay, wait))


def _clear(run: _Run, process: Process, step: Step) -> None:
    pattern = ("reddit:*", "reddit:T0:*", "*", "reddit:T1:24")[step.odd % 4]
    process.do("act clear", lambda: process.clear(pattern))


def _hide_in_a_load(run: _Run, process: Process, step: Step) -> None:
    """A value is deleted, or all are cleared, while one is being loaded; then others ask for it."""
    name, others = f"V{step.odd % 3}", run.world.active
    process.do("act load", lambda: process.values.load(name))
    hider, reader = others[step.odd % len(others)], others[(step.odd + 1) % len(others)]
    if step.odd % 2:
        hider = reader = process
    hide = (lambda: hider.values.delete(name)) if step.odd % 4 else (lambda: hider.clear("values:*"))
    run.kernel.after(process.chance.uniform(0.005, 0.25), lambda: hider.do("act hide", hide))
    run.kernel.after(0.4, lambda: reader.do("act load", lambda: reader.values.load(name)))


def _spend(run: _Run, process: Process, step: Step) -> None:
    """One, or all, go on without Redis for a while, and everyone fetches as much as there is money for."""
    for one in run.world.active * 3:
        one.do("act spend", lambda one=one: one.spend(16.0))
    apart = run.world.active if step.odd % 2 else [process]
    for one in apart if step.odd % 6 else []:
        after = process.chance.uniform(0.2, 1.0)
        run.kernel.after(after, lambda one=one: run.cut(one, ("refused", "silent")[step.who % 2], 15.0))


def _clear_values(run: _Run, process: Process, step: Step) -> None:
    pattern = ("values:*", "values:V1", "reddit:quote:*", "*")[step.odd % 4]
    process.do("act clear", lambda: process.clear(pattern))


def _kill(run: _Run, process: Process, step: Step) -> None:
    run.world.kill(process)
    run.begin(process.kind, step.seconds)


def _cut_while_hungry(run: _Run, process: Process, step: Step) -> None:
    """It has taken what there was, and others wait for that to come free; shortly before, it is cut off."""
    limit = run.world.source.limits[0]
    for _ in range(limit.count):
        process.do("act take", process.take)
    process.do("act saturate", lambda: process.saturate(limit.window_seconds + 1.0))
    others = [one for one in run.world.active if one is not process]
    for number in range(limit.count if others else 0):
        other = others[number % len(others)]
        other.do("act wait in line", lambda other=other: other.wait_in_line(limit.window_seconds + 0.5))
    at = limit.window_seconds - process.chance.uniform(0.3, 0.9)
    run.kernel.after(at, lambda: run.cut(process, ("refused", "refused", "silent")[step.odd % 3], 1.5))
    # What it asks at that moment Redis may hear, and it hears nothing of that.
    run.kernel.after(at - 0.001, lambda: process.do("act take", process.take))


def _cut_in_a_burst(run: _Run, process: Process, step: Step) -> None:
    """Some of its asks are carried out, and it does not hear which."""
    for _ in range(run.world.source.limits[0].count):
        process.do("act take", process.take)
    run.kernel.after(process.chance.uniform(0.0002, 0.002), lambda: run.cut(process, "silent", 2.0))
    for one in run.world.active:
        after = 0.0 if one is process else 0.1
        run.kernel.after(after, lambda one=one: one.do("act saturate", lambda: one.saturate(1.5)))


def _freeze_in_a_load(run: _Run, process: Process, step: Step) -> None:
    """It wakes up when its lease is over, and another may have loaded the same."""
    symbol = f"T{step.odd % 3}"
    process.do("act fetch", lambda: process.fetch(symbol, 1.0))
    run.kernel.after(process.chance.uniform(0.05, 0.6), lambda: run.freeze(process, 1.0 + step.seconds))
    for one in [one for one in run.world.active if one is not process][:2]:
        after = run.world.lease + process.chance.uniform(0.0, 1.0)
        run.kernel.after(after, lambda one=one: one.do("act fetch", lambda: one.fetch(symbol, 3.0)))


def _freeze_in_a_job(run: _Run, process: Process, step: Step) -> None:
    """Its claims lapse meanwhile, and another worker has the jobs when it wakes up."""
    for _ in range(3):
        symbol = f"Q{run.world.number()}"
        process.do("act enqueue", lambda symbol=symbol: process.enqueue(symbol, "interactive", 0.0, 0.0))
    workers = [one for one in run.world.active if one.kind == "worker"]
    if workers:
        asleep = run.world.claim_seconds + 0.3 + step.seconds / 2
        run.kernel.after(process.chance.uniform(0.02, 0.3), lambda: run.freeze(workers[0], asleep))
        run.begin("worker", 0.5)


def _cancel(run: _Run, process: Process, step: Step) -> None:
    """Tasks of an event loop are cancelled wherever they stand: nothing of them is left."""
    loops = [one for one in run.world.active if one.kind == LOOP]
    if not loops:
        return
    _cancel_acts(run, loops[step.who % len(loops)], f"T{step.odd % 3}", 0.01 if step.odd % 2 else 0.5)


def _cancel_acts(run: _Run, process: Process, symbol: str, most_seconds: float) -> None:
    for act in _acts_to_cancel(run, process, symbol):
        task = process.do("act cancelled", act)
        if isinstance(task, Coro):
            run.kernel.after(process.chance.uniform(0.0, most_seconds), task.cancel)


def _acts_to_cancel(run: _Run, process: Process, symbol: str) -> list[Callable[[], Any]]:
    acts = [process.take, lambda: process.hold(2.0), lambda: process.fetch(symbol, 2.0)]
    # A load goes on without the task that has asked for it: where its loop ends, it is cancelled as well.
    return [*acts, lambda: process.values.load(symbol)] if run.has_values else acts


def _cut_and_kill(run: _Run, process: Process, step: Step) -> None:
    """It goes alone, and nobody is ever told what it has sent; others take what there is then."""
    run.cut(process, ("refused", "silent")[step.odd % 2], 1.0 + step.seconds)
    if step.odd % 3:
        process.do("act saturate", lambda: process.saturate(0.3 + step.seconds / 2))
        for one in [one for one in run.world.active if one is not process]:
            after = 0.4 + step.seconds / 2
            run.kernel.after(after, lambda one=one: one.do("act saturate", lambda: one.saturate(1.5)))
    run.kernel.after(0.3 + step.seconds / 2, lambda: run.world.kill(process))
    run.begin(process.kind, 1.0 + step.seconds)


def _lose_beside(run: _Run, process: Process, step: Step) -> None:
    """One knows nothing of the loss, and goes alone."""
    run.cut(process, ("refused", "silent")[step.odd % 2], 1.0 + step.seconds)
    run.kernel.after(0.05 + 0.1 * (step.odd % 4), lambda: run.lose(({}, {}), 0, 0.0))


def _come_back_with_another_clock(run: _Run, process: Process, step: Step) -> None:
    """All is used up as the server goes; it comes back empty, on a machine whose clock is another."""
    for one in run.world.active:
        one.do("act saturate", lambda one=one: one.saturate(1.0 + step.seconds))
    run.kernel.after(0.3, lambda: run.lose(({}, {}), 0, step.seconds / 2))
    run.kernel.after(0.3, lambda: run.step_clock(CLOCK_STEPS[step.odd % len(CLOCK_STEPS)]))


def _leave(run: _Run, process: Process, step: Step) -> None:
    if len(run.world.active) > 1:
        run.kernel.spawn(process, "stop", process.stop)


def _cut_all(run: _Run, process: Process, step: Step) -> None:
    for one in run.world.living:
        run.cut(one, ("refused", "silent")[step.odd % 2], step.seconds)


def _refuse(run: _Run, process: Process, step: Step) -> None:
    upstream = run.world.upstream
    upstream.mood = ("throttled", "throttled", "down", "stalled")[step.odd % 4]
    upstream.mood_until = run.kernel.now_us + micros(0.5 + step.seconds)


def _storm(run: _Run, process: Process, step: Step) -> None:
    run.storm(step.seconds)


def _go_back(run: _Run, process: Process, step: Step) -> None:
    if run._saved is not None:
        run.lose(run._saved, run._saved_us, step.seconds if step.odd % 2 else 0.0)


def _freeze_server(run: _Run, process: Process, step: Step) -> None:
    run.server.freeze(step.seconds)


def _set_limit(run: _Run, process: Process, step: Step) -> None:
    """Half of the count in a window of the source's, or a window of its own."""
    limit = run.world.source.limits[0]
    half = max(run.world.source.cost, limit.count // 2)
    window = limit.window_seconds * (0.5, 1.0, 1.0)[step.odd % 3]
    process.do("act set a limit", lambda: process.set_limits([Limit(half, window)]))


WAYS: dict[str, Callable[[_Run, Process, Step], object]] = {
    "fetch": _fetch,
    "fetch the same": _fetch_same,
    "take": lambda run, process, step: process.do("act take", process.take),
    "hold": _hold,
    "saturate": _saturate,
    "wait in line": _wait_in_line,
    "enqueue": _enqueue,
    "enqueue and wait": lambda run, process, step: _enqueue(run, process, step, wait=3.0),
    "prewarm": lambda run, process, step: _enqueue(run, process, step, lane="prewarm"),
    "clear": _clear,
    "cut off": lambda run, process, step: run.cut(process, ("refused", "silent")[step.odd % 2], step.seconds),
    "cut all off": _cut_all,
    "cut off while all are hungry": _cut_while_hungry,
    "cut off and kill": _cut_and_kill,
    "cut off in a burst": _cut_in_a_burst,
    "freeze in a load": _freeze_in_a_load,
    "freeze in a job": _freeze_in_a_job,
    "cancel": _cancel,
    "freeze": lambda run, process, step: run.freeze(process, step.seconds),
    "kill": _kill,
    "leave": _leave,
    "begin": lambda run, process, step: run.begin(process.kind, 0.0),
    "restart the server": lambda run, process, step: run.restart(step.seconds),
    "freeze the server": _freeze_server,
    "lose all": lambda run, process, step: run.lose(({}, {}), 0, step.seconds if step.odd % 2 else 0.0),
    "lose beside one that is cut off": _lose_beside,
    "go back": _go_back,
    "save": lambda run, process, step: run.save(),
    "spend": _spend,
    "hide in a load": _hide_in_a_load,
    "load a value": lambda run, process, step: process.do(
        "act load", lambda: process.values.load(f"V{step.odd % 3}")
    ),
    "set a value": lambda run, process, step: process.do(
        "act set", lambda: process.values.set(f"V{step.odd % 3}")
    ),
    "delete a value": lambda run, process, step: process.do(
        "act delete", lambda: process.values.delete(f"V{step.odd % 3}")
    ),
    "ask a function": lambda run, process, step: process.do(
        "act ask", lambda: process.values.ask(f"F{step.odd % 3}")
    ),
    "clear values": _clear_values,
    "set the clock for a while": _step_for_a_while,
    "come back with another clock": _come_back_with_another_clock,
    "set the clock at any time": lambda run, process, step: run.step_clock(
        CLOCK_STEPS[step.odd % len(CLOCK_STEPS)]
    ),
    "set the clock": lambda run, process, step: run.set_clock(
        (-30.0, -5.0, -1.0, 1.0, 5.0, 30.0)[step.odd % 6]
    ),
    "pause": lambda run, process, step: process.do("act pause", lambda: process.order("pause")),
    "drain": lambda run, process, step: process.do("act drain", lambda: process.order("drain")),
    "resume": lambda run, process, step: process.do("act resume", lambda: process.order("resume")),
    "set a limit": _set_limit,
    "take a limit back": lambda run, process, step: process.do(
        "act take a limit back", lambda: process.set_limits([])
    ),
    "refuse": _refuse,
    "storm": _storm,
}
