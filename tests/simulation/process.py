"""The processes of a simulated fleet: the real core in each, and what its user does with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import dramatiq

from scheduler.leader import Leader
from tbcache.admission import Admission, Ask
from tbcache.admission.rate_limiter import RateLimiter
from tbcache.cache.sweep import Sweeper
from tbcache.fetch.pipeline import Pipeline
from tbcache.fleet.alert.lease import Lease
from tbcache.fleet.incident import Incident, Incidents
from tbcache.fleet.standing import Kind, Thing, standing_of
from tbcache.io import now, run, utc_now, world
from tbcache.io.asker import asking
from tbcache.io.deadline import seconds_left
from tbcache.limiter import limiter_of
from tbcache.limiter.member import Membership
from tbcache.models import FetchRequest, Limit
from tbcache.models.error import (
    BudgetExhausted,
    Paused,
    RateLimited,
    RedisUnreachable,
    ResultTimeout,
    TbcacheError,
    UpstreamError,
)
from tbcache.monitoring import UsageMonitor, monitor
from tbcache.queue.handle import Handle
from tbcache.queue.queue import Queue
from tbcache.store import Unavailable
from tbcache.store.connection import Store
from tbcache.store.order import bound_of
from tbcache.store.said import TAKEN_BACK, Said
from tbcache.testing.simulated.chance import Chance
from tbcache.testing.simulated.host import Host
from tbcache.testing.simulated.kernel import MICROS, Killed, Task
from tests.simulation.caller import Callers, Client
from tests.simulation.driver import Coro, Simulated
from tests.simulation.oracle import PLAIN
from tests.simulation.upstream import Load, Provider
from tests.simulation.value import Values
from tests.simulation.work import CALL, LATEST_ANSWER, Work
from tests.stand_in import Monitor

if TYPE_CHECKING:
    from tests.simulation.world import World

#: The kind of process whose program runs in an event loop.
LOOP = "loop"
#: The figure that is counted of what nobody else counts.
NOTED = "plain"
#: Whose weight operators set.
CALLER = "bot-1"
#: How often a process looks whether Redis has lost what operators have said (s).
LOOK_SECONDS = 1.5
#: A pre-warm that has waited for longer is not carried out (s).
VALID_SECONDS = 4.0
#: One that is to end waits so long (s) for what it has begun.
MOST_SECONDS_TO_END = 5.0
#: So many requests of one's own are under way for a good part of their hold.
LATE_PART = 0.3
#: Whoever hangs up has no slot any more after so long (s).
GIVE_BACK_SECONDS = 1.0


class Process(Host):
    """One process: a store of its own, and what stands on it."""

    def __init__(self, world: World, name: str, kind: str) -> None:
        super().__init__(world, name, {})
        self.world, self.kind, self.is_leaving = world, kind, False
        self.send_seconds = world.settings.lease_seconds * 0.8
        with world.kernel.visiting(self):
            self._build()

    def _build(self) -> None:
        world, settings = self.world, self.world.settings
        self.store = Store(settings)
        self.limiter = limiter_of(self.store)
        self.member = self.limiter.member
        self.membership = Membership(self.store)
        self.slots = RateLimiter(world.source, self.store, settings.lease_seconds).core
        self.monitor = self._monitor()
        self.store._beside[monitor._monitor] = self.monitor
        self.admission = Admission(self.store, settings, self.monitor)
        self._note_interrupted()
        self._note_ids()
        self._note_beats()
        self.callers = Callers(self, self.monitor.ask_counts)
        self.admission.ask_counts = cast("Any", self.callers)
        self.pipeline = Pipeline(self.admission)
        # Each is a caller of its own: they share the lanes.
        self.queue = Queue(self.store, replace(settings, caller=self.name))
        self.sweeper = Sweeper(self.store)
        self.values = Values(self)
        self.standing = standing_of(self.store)
        self.membership.start()
        self.driver = Simulated(world.kernel, self)
        self.work = Work(self)
        if world.is_operated:
            self.spawn("stand by", self._stand_by)
        if self.kind == "worker":
            self.work.begin()
        if self.kind == "scheduler":
            self.leader = Leader(self.store, self.name, [world.source.name])
            self.watch_lease, self._incidents = Lease(self.store, self.name), Incidents(self.store)
            self.spawn("schedule", self._schedule)
            self.spawn("watch", self._watch)

    def _note_interrupted(self) -> None:
        """Take note of loads without Redis that are interrupted: they hold their slots, and tell nobody."""
        fallback: Any = self.admission._fallback
        end_slot = fallback._end_slot

        async def noted(grant: Any, settlement: Any) -> None:
            if settlement.ending == "interrupted":
                self.world.oracle.interrupted.add(grant.slot)
            await end_slot(grant, settlement)

        fallback._end_slot = noted

    def _note_beats(self) -> None:
        """Take note of when a beat has told it last what is in force (us)."""
        self.told_at = 0
        window: Any = self.limiter.process_window(self.world.source.name)
        receive = window.receive

        def noted(*what: Any, **more: Any) -> None:
            receive(*what, **more)
            self.told_at = self.world.kernel.now_us

        window.receive = noted

    def _note_ids(self) -> None:
        """Take note of what admission is asked by for those who may hang up."""
        self.clients: dict[Task | None, Client] = {}
        new_id = self.admission._new_id

        def noted() -> str:
            id = new_id()
            if (client := self.clients.get(self.world.kernel.current)) is not None:
                client.ids.append(id)
            return id

        self.admission._new_id = noted  # type: ignore[method-assign]

    def _monitor(self) -> Any:
        if not self.world.shape.budget and not self.world.shape.is_counted:
            return Monitor()
        monitor = UsageMonitor(self.store, self.world.settings)
        monitor.worker = self.name
        return monitor

    @property
    def acts(self) -> list[Task]:
        """What its user has it do, as far as that is not over."""
        tasks = self.world.kernel.tasks
        return [task for task in tasks if task.home is self and task.name.startswith("act ")]

    # What a bot does

    def do(self, name: str, act: Callable[[], Coroutine[Any, Any, object]]) -> Task | None:
        """Do it as a user of the library would, who knows its errors: in a thread, or in an event loop."""

        async def careful() -> None:
            try:
                await act()
            except (RateLimited, UpstreamError, RedisUnreachable, ResultTimeout) as error:
                self.check_error(error)

        if self.is_dead:
            return None
        if self.kind == LOOP:
            return self.driver.run(name, careful)
        return self.spawn(name, lambda: run(careful()))

    def check_error(self, error: Exception) -> None:
        """What is said of a budget is said where there is one."""
        if isinstance(error, BudgetExhausted) and not self.world.shape.budget:
            self.world.broken("words", f"{self.name}: {error!r}, and there is no budget")

    async def fetch(
        self,
        symbol: str,
        patience: float,
        *,
        needed: float = 0.0,
        slot: str | None = None,
        lane: Any = "interactive",
        loads: list[Load] | None = None,
    ) -> Any:
        """Ask the pipeline; what is asked of the upstream for it goes into ``loads``."""
        oracle, asked, provider = self.world.oracle, self.world.oracle.count, self.provider(loads)
        was_with = self.store.is_available
        request = FetchRequest(self.world.source.name, symbol)
        ask = Ask(self.world.source, request, lane, needed, slot, patience)
        outcome = await self.pipeline.fetch(provider, ask)
        load = self.world.upstream.load_in(outcome)
        if load is None:
            self.world.broken("value", f"{self.name} was given a value of {symbol} that nobody loaded")
        elif load.key != request.key:
            self.world.broken("value", f"{self.name} asked for {request.key}, and was given {load.key}")
        elif load is not provider.load and was_with and self.store.is_available:
            self.check_value(load, oracle.is_cleared(load.key, load.began, asked))
        return outcome

    async def ask(self, client: Client, symbol: str, patience: float) -> None:
        """Ask for one who may hang up."""
        self.clients[self._task] = client
        with asking(client):
            await self.fetch(symbol, patience, loads=client.loads)

    def hang_up(self, client: Client, task: Task | None) -> None:
        """He is gone: what has not begun to be loaded for him ends, and takes no slot."""
        at = self.world.kernel.now_us
        if self.frozen_until > at:
            self.when_thawed(lambda: self.hang_up(client, task))
        elif client.is_loading:
            if not client.loads:
                self.world.broken(
                    "hung up", f"{self.name} keeps a slot for one who is gone, and loads nothing"
                )
        elif isinstance(task, Coro) and not task.is_over:
            task.cancel()
            self.world.kernel.after(GIVE_BACK_SECONDS, lambda: self._check_gone(client, at))

    def _check_gone(self, client: Client, since: int) -> None:
        if client.loads:
            self.world.broken("hung up", f"{self.name} loads {client.loads[0].key} for one who is gone")
        is_with = self.store.is_available and not self.connection.cut and self.frozen_until <= since
        if is_with and not self.is_dead and (left := self.world.oracle.taken(client.ids)):
            self.world.broken("hung up", f"{self.name} has slots for one who is gone: {left}")

    def check_value(self, load: Load, is_cleared: bool) -> None:
        """What another has loaded, and Redis has given out."""
        if is_cleared:
            self.world.broken("cleared", f"{self.name} was given a value of {load.key} from before a clear")
        if load.number in self.world.oracle.refused:
            self.world.broken("fencing", f"{self.name} was given a value of {load.key} that a dead lease had")

    def provider(self, loads: list[Load] | None = None) -> Provider:
        world = self.world
        return Provider(
            world.upstream,
            self,
            lambda: world.oracle.count,
            seconds_left,
            Chance(world.seed, self.name, "provider", world.number()),
            1 + self.chance.below(world.source.pages),
            loads=[] if loads is None else loads,
        )

    async def take(self) -> None:
        """One slot for a request of one's own, which is off at once."""
        is_allowed, status = await self.slots.check_rate_limit(**self._named())
        if is_allowed:
            # Stamped when Redis answered, or now: a request that takes its time wants a slot that is held.
            is_alone = (status.reason or "").endswith("this process's share")
            if is_alone:
                self._check_heard()
            self.world.upstream.arrive(self.name, None if is_alone else self._task.done_at)

    def _named(self) -> dict[str, Any]:
        """Some name the window that they ask for, the source's own: what an operator has set holds."""
        limit, *more = self.world.source.limits
        if more or not self.world.is_operated or not self.world.number() % 3:
            return {}
        return {"limit": limit.count, "window_seconds": limit.window_seconds}

    def _check_heard(self) -> None:
        """Who goes alone takes itself for absent no earlier than the others do."""
        window = self.limiter.process_window(self.world.source.name)
        known = self.moment(max(window.last_seen_at, window.in_doubt_until))
        noted = self.world.oracle.last_seen_at(self.member)
        if noted is not None and window.is_member and known < noted - 0.001:
            self.world.broken("heard", f"{self.name} was heard {noted - known:.3f} s later than it knows")
        if window.silence < self.world.oracle.silence_of(self.member):
            self.world.broken("heard", f"{self.name} may be silent for longer than {window.silence} s")

    async def note(self) -> None:
        """Count something that nobody else counts."""
        self.world.noted.append(self.world.server.now_us() / MICROS)
        self.monitor.count(self.world.source.name, {NOTED: 1})

    async def spend(self, seconds: float) -> None:
        """Fetch one after the other, while there is money."""
        until = now() + seconds
        while now() < until:
            try:
                await self.fetch(f"M{self.world.number()}", 0.0)
            except (RateLimited, UpstreamError):
                await world().sleep(0.3)

    async def saturate(self, seconds: float) -> None:
        """Take whatever can be had."""
        until = now() + seconds
        while now() < until:
            await self.take()
            await world().sleep(self.chance.uniform(0.005, 0.06))

    async def wait_in_line(self, seconds: float) -> None:
        """Have each slot promised as soon as it is known when it comes free."""
        until, window = now() + seconds, self.world.source.limits[0].window_seconds
        while now() < until:
            try:
                await self.hold(window)
            except RateLimited as error:
                await world().sleep(min(0.1, max(0.01, error.retry_after)))

    async def hold(self, max_wait: float, late: float | None = None) -> None:
        """A slot that is held around a request of one's own, which arrives ``late`` (s), or at times so."""
        slot, _ = await self.slots.begin(max_wait=max_wait)
        try:
            if late := self._lateness() if late is None else late:
                await world().sleep(late)
            window = self.limiter.process_window(self.world.source.name)
            # Whoever stood still until the lease was over would have to know it himself.
            if now() < window._stamps.get(slot, 0.0) - LATEST_ANSWER:
                self.world.upstream.arrive(self.name)
            await world().sleep(self.chance.uniform(0.0, 0.1))
        except BaseException:
            world().undo(lambda: self.slots.end(slot))
            raise
        await self.slots.end(slot)

    def _lateness(self) -> float:
        """For how long a request of one's own is under way (s)."""
        chance = Chance(self.world.seed, self.name, "late", self.world.kernel.now_us)
        return chance.uniform(0.0, 0.75 * self.world.lease) if chance.happens(LATE_PART) else 0.0

    @property
    def _task(self) -> Task:
        task = self.world.kernel.current
        assert task is not None
        return task

    async def enqueue(
        self, symbol: str, lane: Any, delay: float = 0.0, wait: float = 0.0, **wants: Any
    ) -> None:
        request = FetchRequest(self.world.source.name, symbol)
        handle = await world().offload(
            lambda: self.queue.enqueue(request, lane, delay_seconds=delay, **wants)
        )
        if wait:
            await self._await_result(handle, wait)

    async def _await_result(self, handle: Handle, seconds: float) -> None:
        try:
            await world().offload(lambda: handle.result(seconds))
        except TbcacheError as error:
            # Where Redis has lost its data, it has lost the job, and says so; and a job may be dead.
            is_lost = type(error) is TbcacheError and self.world.oracle.has_lost
            if not is_lost and handle.job_id not in self.world.oracle.jobs.refused:
                raise

    async def enqueue_many(self, count: int) -> None:
        """Queue as many fetches as nobody else asks for."""
        numbers = [self.world.number() for _ in range(count)]
        requests = [FetchRequest(self.world.source.name, f"Q{number}") for number in numbers]
        await world().offload(lambda: self.queue.enqueue_many(requests))

    async def send(self, fails: int, delay_ms: int) -> None:
        """A job of the queue that no source paces, which fails so often."""
        message: Any = dramatiq.Message(PLAIN, "work", (), {"fails": fails}, {})
        await world().offload(lambda: self.work.broker.enqueue(message, delay=delay_ms))

    async def call(self, seconds: float) -> None:
        """A job of the source's queue that asks the source itself, and takes so long."""
        message: Any = dramatiq.Message(self.world.source.name, CALL, (), {"seconds": seconds}, {})
        await world().offload(lambda: self.work.broker.enqueue(message))

    async def clear(self, pattern: str) -> None:
        before = self.world.oracle.count
        await self.values.hide(pattern)
        self.world.oracle.clears.append((before, self.world.oracle.count, pattern, self.name))
        if self.chance.happens(0.5):
            await self.sweeper.sweep(pattern)

    # What an operator does

    async def order(self, what: str) -> None:
        await self._say("order", self.world.source.name, what)

    async def move(self, how: str, queue: str, job_id: str) -> None:
        """Cancel or promote a job."""
        if how == "cancel":
            await world().offload(lambda: self.queue.cancel(queue, job_id, "nobody wants it"))
        else:
            await world().offload(lambda: self.queue.promote(queue, job_id))

    async def exhume(self, how: str, queue: str) -> None:
        """Queue all dead letters again, or forget them."""
        dead = self.queue.dead
        await world().offload(lambda: dead.requeue(queue) if how == "requeue" else dead.purge(queue))

    async def set_limits(self, limits: Sequence[Limit]) -> None:
        await self._say("bound", self.world.source.name, bound_of(limits))

    async def set_weight(self, weight: str) -> None:
        await self._say("weight", CALLER, weight)

    async def _say(self, kind: Kind, name: str, value: str) -> None:
        thing, said = Thing(kind, name), Said(value, 0, self.name)
        found = await world().offload(lambda: self.standing.say(thing, said))
        self.world.oracle.orders.acknowledge(self.name, thing, found.stands)

    def _stand_by(self) -> None:
        """Say again what Redis has lost, as those do that stand by to watch the fleet."""
        orders = self.world.oracle.orders
        while not self.is_leaving:
            stood = orders.stand()
            with contextlib.suppress(Unavailable):
                self.standing.look()
                orders.learn(self.name, stood)
            self.world.kernel.sleep(self.chance.uniform(0.3, LOOK_SECONDS))

    async def let_go_on(self) -> None:
        """Have nothing be against what was begun, as soon as Redis can be told so."""
        while True:
            try:
                await self.order("resume")
                await self.set_limits([])
                return await self.set_weight(TAKEN_BACK)
            except RedisUnreachable:
                await world().sleep(0.1)

    # What a scheduler does

    def _schedule(self) -> None:
        while not self.world.is_calm:
            self.leader.work(self._prewarm)
            self.world.kernel.sleep(2.0)

    def _prewarm(self, token: int) -> None:
        for number in range(3):
            request = FetchRequest(self.world.source.name, f"W{number}")
            try:
                self.queue.enqueue(request, "prewarm", token=token, valid_seconds=VALID_SECONDS)
            except (RedisUnreachable, Paused):
                return
            # A tick of many symbols takes its time.
            self.world.kernel.sleep(self.chance.uniform(0.0, 0.4))

    def _watch(self) -> None:
        """Watch the fleet where nobody else does: look, which takes its time, and write what is found."""
        while not self.world.is_calm:
            with contextlib.suppress(Unavailable):
                self.watch_lease.take()
                if self.watch_lease.token:
                    self.world.kernel.sleep(self.chance.uniform(0.0, 0.8))
                    at = utc_now()
                    found = Incident(f"{self.name}-{self.world.number()}", "lost", None, "lost", "", at, at)
                    self._incidents.write(self.watch_lease.token, [found])
            self.world.kernel.sleep(2.0)

    def stop(self, patience: float = MOST_SECONDS_TO_END) -> None:
        """End in good order: nothing new is begun, and what was begun is over, or broken off.

        An event loop cancels what it has not finished, and waits for what comes of that.
        """
        self.is_leaving = True
        self._wait_while(lambda: bool(self.acts), patience)
        # What a page costs that is under way, nobody tells then.
        self.world.upstream.forgo(self.name)
        if self.kind == LOOP:
            for task in [
                task for task in self._tasks if isinstance(task, Coro) and task.name != "background"
            ]:
                task.cancel()
            self._wait_while(lambda: any(task.name != "stop" for task in self._tasks), MOST_SECONDS_TO_END)
        for act in self.acts:
            act.kill()
        if self.kind == "worker":
            self.work.end()
        if self.kind == "scheduler":
            self.leader.resign()
            if self.watch_lease.token:
                self.watch_lease.resign()
        for act in reversed(self.at_exit):
            act()
        self.world.has_untold |= not self.store.is_available
        self.membership.stop()
        self.store.close()
        self.world.gone(self)

    @property
    def _tasks(self) -> list[Task]:
        return [task for task in self.world.kernel.tasks if task.home is self]

    def _wait_while(self, is_so: Callable[[], bool], most_seconds: float) -> None:
        until = self.world.kernel.now + most_seconds
        while is_so() and self.world.kernel.now < until:
            self.world.kernel.sleep(0.05)


__all__ = ["Killed", "Process"]
