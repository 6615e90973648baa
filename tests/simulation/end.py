"""The end of a world: nothing goes wrong any more, all that was begun ends, and nothing is left."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

from tbcache.testing.simulated.kernel import MICROS, micros
from tests.simulation.fault import RETURN, Faults
from tests.simulation.history import History
from tests.simulation.plan import LASTING
from tests.simulation.process import LOOK_SECONDS, LOOP, Process
from tests.simulation.way import acts_to_cancel, cancel_acts

#: Nobody waits longer for a slot (s).
MOST_PATIENCE = 5.0
#: Seconds within which one more job must be over, or all be, once nothing goes wrong any more.
CALM = 120.0
#: The parts of a queue that are empty when all is over, by how they are read.
QUEUE = {
    "ZRANGE": ("interactive", "prewarm", "suspects", "interactive-tags", "prewarm-tags", "claims", "delayed"),
    "HGETALL": ("jobs", "pending", "keys", "lanes", "tries", "deaths"),
}


class End:
    """That of one world."""

    def __init__(self, faults: Faults) -> None:
        self._faults, self.world = faults, faults.world
        self.kernel, self.server = faults.kernel, faults.server
        self._stopped: list[str] = []

    def come(self) -> None:
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
        if not world.failures and self._is_all_told:
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
            self._faults.start_server()
        self.server.thaw()
        world.upstream.mood_until = 0
        world.weather.lost, world.weather.late, world.weather.slow = 0.0, 0.02, 0.05
        if self.world.is_operated:
            self._check_orders()
            for process in world.active[:1]:
                process.do("act resume", process.let_go_on)

    def _check_orders(self) -> None:
        """What those know that live, and go on living, stands once they have looked."""
        world, orders = self.world, self.world.oracle.orders
        known = [(process, orders.known(process.name)) for process in world.active]
        # Who was cut off takes a moment to use Redis again.
        world.run(2 * LOOK_SECONDS + RETURN)
        for process, turns in known:
            # The last fault may be that one is killed, some moments after its begin.
            if process in world.active:
                orders.check(turns)

    def _cancel_some(self) -> None:
        """In every loop, tasks that are cancelled while they ask: nothing stays held for them."""
        for number, process in enumerate([one for one in self.world.active if one.kind == LOOP] * 3):
            cancel_acts(self._faults, process, f"C{number}", 0.002)

    def _acts(self) -> list[Any]:
        return [task for task in self.kernel.tasks if task.name.startswith("act ") or task.name == "job"]

    def _loads(self) -> list[Any]:
        """What goes on though nobody waits for it any more."""
        return [task for task in self.kernel.tasks if task.name in ("detached", "background")]

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
        return not self._waits_for_jobs and not self._acts() and not self._loads() and self._is_all_with()

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
            for act in acts_to_cancel(self._faults, process, f"E{number}"):
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
        if world.shape.is_counted:
            self._check_history()
        for key in self.server.keyspace.names():
            if self.server.keyspace.expires_at(key) is None:
                world.broken("rest", f"{key.decode()} has no TTL")

    def _check_queue(self) -> None:
        if self.world.oracle.open_jobs:
            # There is no money for them.
            return
        source, refused = self.world.source.name, self.world.oracle.jobs.refused
        for command, parts in QUEUE.items():
            for part in parts:
                span = [] if command == "HGETALL" else [b"0", b"-1"]
                key = self.world.oracle.keys.queue(source, part).encode()
                left = self.server.keyspace.do(command, [key, *span])
                if part == "claims":
                    # Whose job was cancelled is told so for a while, also one that is no more.
                    left = [one for one in left if one.decode().partition("/")[0] not in refused]
                if left:
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

    def _check_history(self) -> None:
        """What was counted is told once: by the figures of the days, and by the minutes of history."""
        world, noted = self.world, sorted(self.world.noted)
        marks = History(self.server.keyspace, world.oracle.keys, world.source.name).marks(
            self.server.now_us()
        )
        told = sum(marks.totals.values())
        if told > len(noted):
            world.broken("history", f"{told} are told, and {len(noted)} were counted")
        is_lost = world.has_dead or world.has_untold or world.oracle.has_lost
        if told < len(noted) and not is_lost:
            world.broken("history", f"{told} are told of {len(noted)} that were counted")
        if world.oracle.has_lost:
            return
        by_minute = marks.by_minute()
        if sum(by_minute.values()) != marks.since_first:
            world.broken("history", f"the minutes tell {by_minute}, and the days {marks.since_first}")
        for minute in by_minute:
            so_far = sum(count for at, count in by_minute.items() if at <= minute)
            counted = sum(at < (minute + 1) * 60 for at in noted)
            if so_far > counted:
                world.broken("history", f"by minute {minute} {so_far} are told, and {counted} were counted")

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
        # A state from before the clock was set back is as far ahead of it.
        world.run(max(0.0, (self._faults.loaded_us - self.server.now_us()) / MICROS))
        if not any(process.limiter.epochs.of(source) for process in world.active):
            return
        if world.oracle.is_step_unsaid and self._ahead():
            # Nobody knows of the step before, for which the window was mended; then a minute is promised.
            world.run(60.0)
        if ahead := self._ahead():
            state = world.oracle._hash(world.oracle.keys.state(source))
            world.broken("moments", f"{ahead} are ahead of the server's clock: {state}")

    def _ahead(self) -> list[str]:
        """What was noted of a moment that is to come."""
        world, source = self.world, self.world.source.name
        now, keys = self.server.now_us() + micros(0.01), world.oracle.keys
        last = now + micros(max(limit.window_seconds for limit in world.source.limits) + world.lease)
        state = world.oracle._hash(keys.state(source))
        moments = {name: float(state.get(name, 0)) for name in ("lost_at", "returned_at", "demand_at")}
        noted = self.server.keyspace.do("ZRANGE", [keys.fleet(source).encode(), b"-1", b"-1", b"WITHSCORES"])
        moments |= {"last heard": float(noted[1])} if noted else {}
        ahead = [name for name, at in moments.items() if at > now]
        return [*ahead, "left_until"] if float(state.get("left_until", 0)) > last else ahead

    def _check_idle(self) -> None:
        """Who does nothing loads nothing; a load goes on though nobody waits for it any more."""
        world = self.world
        busy = {task.home.name for task in (*self._acts(), *self._loads())}
        idle = {one.name for one in world.active}.difference(busy)
        for key in self._held_leases():
            lease = world.oracle.leases.get(key)
            if lease is not None and lease.process in idle:
                world.broken("rest", f"{key} is held by {lease.process}, which does nothing")
