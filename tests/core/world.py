"""A fleet in one thread: the real code of every process and the real scripts, over a clock moved by hand.

Each process has an :class:`UnreliableStore` for its way to Redis. Whatever a process asks passes there, and
there the world goes on: others act before the ask arrives and before its answer does, either may be lost,
and a process may be cut off, killed, or come back at any such moment.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import dramatiq
import pytest
from redis.client import PubSub

from tbcache.admission import Ask, Go, Grant, Settlement
from tbcache.io import BLOCKING
from tbcache.limiter import limiter_of
from tbcache.limiter.process_window import ABSENT_SECONDS, ProcessWindow
from tbcache.models import FetchRequest, Limit
from tbcache.queue import PacingBroker
from tbcache.queue.job import actor_name
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import BUILT_IN, Settings, Source
from tbcache.store import Store, Unavailable
from tbcache.store.fault import AWAY
from tbcache.store.script import Script
from tbcache.store.wire import MICROS
from tbcache.testing.simulated.marker import Disk, Marker
from tests.blocking import Admission, Membership
from tests.fake import fake_redis
from tests.job import message
from tests.stand_in import Monitor

START = 1_800_000_000.0
LIMIT = Limit(6, 2.0)
SOURCE = replace(BUILT_IN["reddit"], limits=(LIMIT,), missing=())
#: Seconds within which an ask is carried out, or not at all, and for which its answer is waited.
DEADLINE, TIMEOUT = 0.2, 0.25
LEASE = 1.0
#: For so long after the last that was heard of a process, others may use slots of its own.
THEIRS_SECONDS = ABSENT_SECONDS
#: So many asks may be under way at once.
MOST_DEEP = 4
MOST_PROCESSES = 6


class Clock:
    """The server's time and everyone's, in seconds."""

    def __init__(self) -> None:
        self.now = START

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)

    async def pass_by(self, seconds: float) -> None:
        self.sleep(seconds)


@contextmanager
def moved_clock() -> Iterator[Clock]:
    """Whoever looks at a clock looks at this one, and sleeps by it."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time", clock.monotonic)
        patch.setattr(BLOCKING, "now", clock.monotonic)
        patch.setattr(BLOCKING, "clock", clock.monotonic)
        patch.setattr(BLOCKING, "sleep", clock.pass_by)
        yield clock


class Killed(BaseException):
    """The process is no more: whatever it was about to do, it does not."""


@dataclass
class Step:
    """What happens next: ``what`` is a name in :data:`WAYS` or :data:`LOSING`, done by process
    number ``who``; ``odd`` settles whatever the way leaves open; ``pause`` is in seconds, after it."""

    what: str
    who: int
    odd: int
    pause: float


class UnreliableStore(Store):
    """A process's way to Redis, of which the world decides what comes through."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.is_down = self.is_killed = self.is_unconfirmed = False
        super().__init__(world.settings)
        self._server = Peer(self)  # type: ignore[assignment]
        self.prober = self.breaker._prober = Prober(world.clock)  # type: ignore[assignment]
        self.breaker._lost = self._lost  # type: ignore[method-assign]
        machine = limiter_of(self).windows.machine
        machine.member, machine.marker = name, Marker(world.disk, name)  # type: ignore[assignment]
        machine.marker_of = functools.partial(Marker, world.disk)  # type: ignore[assignment,method-assign]

    async def _run(self, script: Script[Any, Any], packed: Sequence[Any]) -> Any:
        try:
            return self.pass_on(lambda: self.world.redis.eval(script.text, *packed))
        except Unavailable:
            raise
        except AWAY as error:
            self.world.refused.append(f"{script.name}: {error}")
            raise self._failed(error, script) from None

    def run_directly(self, script: Script[Any, Any], call: Any) -> Any:
        # What is sent goes the way of all others.
        return self.run(script, call)

    async def command(self, *command: Any) -> Any:
        answer = self.pass_on(lambda: self.world.redis.execute_command(*command))
        # As it travels: redis-py has made a dict of it.
        return [part for pair in answer.items() for part in pair] if isinstance(answer, dict) else answer

    def pop_list(self, keys: Sequence[str], seconds: float) -> str | None:
        return None

    def subscribe(self, channel: str | None = None) -> PubSub:
        raise Unavailable("", "there are no channels")

    def pass_on(self, ask: Callable[[], Any]) -> Any:
        """The ask arrives late or not at all, and so does its answer."""
        self.check()
        sent_at = self.world.clock.now
        self._meanwhile()
        if self.is_down:
            raise self._down(is_timeout=False)
        answer = ask()
        self._meanwhile()
        if self.is_down or self.is_unconfirmed or self.world.clock.now > sent_at + TIMEOUT:
            raise self._down(is_timeout=True)
        return answer

    def _meanwhile(self) -> None:
        # What happens now is done by other threads, of this process as well.
        is_current, self.prober.is_current = self.prober.is_current, False  # type: ignore[misc]
        self.world.meanwhile()
        self.prober.is_current = is_current  # type: ignore[misc]
        if self.is_killed:
            raise Killed

    def _down(self, *, is_timeout: bool) -> Unavailable:
        self.breaker.reason = "cut off"
        error = Unavailable(self.address, "cut off")
        error.is_timeout = is_timeout
        return error

    def come_back(self) -> None:
        """What the thread that asks for the server does."""
        self.prober.is_current = True
        is_needed = self.breaker.reason is not None or limiter_of(self).windows.broken
        if is_needed and not self.is_down and not self.is_killed:
            with contextlib.suppress(Unavailable):
                self.breaker._come_back()
        self.prober.is_current = False

    def _lost(self, error: Exception) -> None:
        self.breaker.reason = "cut off"


class Straight(UnreliableStore):
    """A store that loses nothing, and is never late."""

    def pass_on(self, ask: Callable[[], Any]) -> Any:
        return ask()


class Prober:
    """The thread that asks for the server, as far as others look at it: the world does its work."""

    is_current = False

    def __init__(self, clock: Clock) -> None:
        self.pause = clock.sleep

    def start(self, after: float = 0.0) -> None: ...


class Peer:
    """The server, as far as a return looks at it itself."""

    def __init__(self, store: UnreliableStore) -> None:
        self._store = store

    def check(self) -> None:
        if self._store.is_down:
            raise Unavailable("", "cut off")

    def call(self, *command: Any) -> Any:
        return self._store.world.redis.execute_command(*command)

    def close(self) -> None: ...


@dataclass
class Process:
    """One process: it limits, admits, takes jobs and beats, all over one store."""

    world: World
    name: str
    store: UnreliableStore = field(init=False)
    loads: list[Grant] = field(default_factory=list)
    promised: list[Grant] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = UnreliableStore(self.world, self.name)
        settings = self.world.settings
        self.limiter = RateLimiter(self.world.source, self.store, LEASE)
        self.admission = Admission(self.store, settings, Monitor())  # type: ignore[arg-type]
        self.membership = Membership(self.store)
        limiter_of(self.store).join.by(self.membership.core.beat)
        self.broker = PacingBroker(self.store, settings, [self.world.source])
        self.broker.threads.open(2)
        name = self.world.source.name
        # A job of an actor that the worker does not know is put off.
        dramatiq.actor(actor_name=actor_name(name), queue_name=name, broker=self.broker)(lambda **_: None)
        self.consumer = self.broker.consume(self.world.source.name, timeout=1)

    @property
    def is_beating(self) -> bool:
        """True while a beat is under way: another thread of the process would wait for it."""
        return self.membership._beating.is_held

    @property
    def knows_redis(self) -> bool:
        """It has been told of the window."""
        return limiter_of(self.store).epochs.of(self.world.source.name) != ""

    @property
    def is_told(self) -> bool:
        """It has been told of the window that is in force."""
        source = self.world.source.name
        current = self.world.redis.hget(self.store.keys.state(source), "epoch")
        return current is not None and current.decode() == limiter_of(self.store).epochs.of(source)

    @property
    def process_window(self) -> ProcessWindow:
        return limiter_of(self.store).process_window(self.world.source.name)

    @property
    def names(self) -> set[str]:
        """Of all slots that it has taken of late, or may have."""
        return (
            {*self.process_window._stamps}
            | {*self.process_window._pending}
            | {*self.process_window._unreported}
        )

    @property
    def is_unknown(self) -> bool:
        """It has sent something, and Redis has never heard of it."""
        return self.process_window.has_fallback_slots and not self.process_window.is_member

    @property
    def is_away(self) -> bool:
        is_broken = bool(limiter_of(self.store).windows.broken)
        return self.store.is_down or not self.store.is_available or is_broken

    def beat(self, *, gives_up_allowances: bool = False) -> None:
        if self.is_beating:
            return
        self._unless_away(
            lambda: self.membership.beat(self.world.source.name, gives_up_allowances=gives_up_allowances)
        )

    def take(self) -> bool:
        is_allowed, _ = self.limiter.check_rate_limit()
        if is_allowed:
            self._send()
        return is_allowed

    def admit(self, symbol: str, patience: float = 0.0, slot: str | None = None) -> None:
        request = FetchRequest(self.world.source.name, symbol)
        verdict = self.admission.admit(Ask(self.world.source, request, slot=slot, patience=patience))
        if isinstance(verdict, Go):
            self._begin(verdict.grant)

    def turn(self) -> None:
        """The next page of a load that is under way."""
        if self.loads:
            following = self.admission.turn(self.loads.pop(0))
            if isinstance(following, Grant):
                self._begin(following)

    def settle(self) -> None:
        """The answer to the first load is in."""
        if self.loads:
            self.admission.settle(self.loads.pop(0), Settlement(payload=b"1", pages=1))

    def ask_for_job(self) -> Any:
        """A cause to ask is there already: no thread of the consumer's own listens for one."""
        self.consumer._alarm.set_off()
        return next(self.consumer)

    def end(self) -> None:
        """The answer to each load is in, nobody waits for what was promised, and it takes another job."""
        self.ask_for_job()
        while self.loads:
            self.settle()
        while self.promised:
            self.admission.settle(self.promised.pop(), Settlement())

    def use_promised(self) -> None:
        """The moments of some grants have come."""
        due = [grant for grant in self.promised if grant.starts_at <= self.world.clock.now]
        self.promised = [grant for grant in self.promised if grant not in due]
        for grant in due:
            self._begin(grant)

    def _begin(self, grant: Grant) -> None:
        if grant.starts_at > self.world.clock.now:
            self.promised.append(grant)
        elif self.admission.may_send(grant):
            self._send()
            self.loads.append(grant)
        else:
            self.admission.settle(grant, Settlement())

    def work(self) -> None:
        """Take a job from the queue and fetch with the slot it comes with."""
        request = FetchRequest(self.world.source.name, self.world.symbol())
        self.world.producer.enqueue(message(request, "interactive"))
        found = self.ask_for_job()
        if found is not None:
            self.admit(str(found.kwargs["symbol"]), slot=found.options["slot"])
            self.consumer.ack(found)

    def ask_unconfirmed(self, odd: int) -> None:
        """Ask for a slot, and be cut off before the answer comes."""
        self.store.is_unconfirmed = True
        ways = [self.take, lambda: self.admit(self.world.symbol()), self.turn, self.work]
        ways[odd % len(ways)]()
        self.store.is_unconfirmed = False

    def cut_off(self) -> None:
        self.store.is_down = True

    def mend(self) -> None:
        self.store.is_down = False
        if not self.is_beating:
            self.store.come_back()

    def return_and_beat(self) -> None:
        self.mend()
        self.beat()

    def _send(self) -> None:
        if not self.world.is_over:
            self.world.arrivals.append(self.world.clock.now)

    def _unless_away(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Unavailable:
            return


class World:
    """A few processes of one machine, one Redis, one upstream, and what is still to happen."""

    def __init__(self, clock: Clock, processes: int = 3, source: Source = SOURCE) -> None:
        self.clock, self.source = clock, source
        self.redis = fake_redis()
        self.settings = Settings.load(
            {
                "REDIS_URL": "redis://127.0.0.1:1/0",
                "TBCACHE_NAMESPACE": "ns",
                "TBCACHE_LEASE_SECONDS": str(LEASE),
                "TBCACHE_REDIS_TIMEOUT": str(TIMEOUT),
            }
        )
        self.arrivals: list[float] = []
        #: The scripts that the server has refused, and why.
        self.refused: list[str] = []
        self.alive: set[str] = set()
        self.disk = Disk(clock.monotonic, self.alive.__contains__)
        self._symbols = itertools.count()
        self._pids = itertools.count(1)
        self._ahead: list[Step] = []
        self._depth = 0
        #: Who was cut off when Redis lost data, and until when they are assumed to be back.
        self._missing: list[Process] = []
        self._missing_until = 0.0
        #: Something has come to pass that is assumed not to: what is sent from now on does not count.
        self.is_over = False
        #: Those that are killed, or have left.
        self.gone: list[Process] = []
        #: What Redis may go back to.
        self.saved: dict[bytes, bytes] = {}
        self.producer = PacingBroker(Straight(self, "producer"), self.settings, [source])
        self.fleet = [self.start() for _ in range(processes)]

    def start(self) -> Process:
        """One more process."""
        name = f"m-{next(self._pids)}.x"
        self.alive.add(name)
        process = Process(self, name)
        process.membership.core.leaving.is_dead = lambda member: member not in self.alive  # type: ignore[method-assign]
        return process

    def kill(self, process: Process) -> None:
        """Nothing of it is told to anyone; another is started in its place."""
        self.alive.discard(process.name)
        process.store.is_killed = True
        self.gone.append(process)
        self.fleet[self.fleet.index(process)] = self.start()

    def leave(self, process: Process) -> None:
        """It is over in good order."""
        process.membership.stop()
        self.alive.discard(process.name)
        self.fleet.remove(process)
        self.gone.append(process)

    def save(self) -> dict[bytes, bytes]:
        """All that Redis holds, as :meth:`rewind` wants it."""
        return {key: self.redis.dump(key) for key in self.redis.scan_iter()}

    def rewind(self, saved: Mapping[bytes, bytes]) -> None:
        """Redis holds that again, and has lost all that came after it."""
        self.redis.flushall()
        for key, value in saved.items():
            self.redis.restore(key, 0, value)

    @property
    def is_settled(self) -> bool:
        """Nothing is under way."""
        return self._depth == 0 and not any(process.is_beating for process in self.fleet)

    @property
    def slots_key(self) -> str:
        return self.producer.store.keys.slots(self.source.name)

    def let_all_beat(self) -> None:
        """All who can reach Redis do, as they would within 0.15 s."""
        for process in [process for process in self.fleet if not process.store.is_down]:
            process.beat()

    def symbol(self) -> str:
        return f"S{next(self._symbols)}"

    def play(self, steps: Sequence[Step]) -> None:
        self._ahead = list(steps)
        while self._ahead:
            self.step()

    def step(self) -> None:
        step = self._ahead.pop(0)
        process = self.fleet[step.who % len(self.fleet)]
        if not process.is_beating:
            with contextlib.suppress(Killed):
                (WAYS | LOSING)[step.what](self, process, step.odd)
        self._pass(step.pause)

    def _pass(self, seconds: float) -> None:
        """Let time pass. Assumed of it (docs/limits.md, where the bound ends): who was cut off at a loss of
        data is back within a lease and the window, and does not end before."""
        until = self.clock.now + seconds
        if self._missing and until >= self._missing_until:
            self.clock.now = max(self.clock.now, self._missing_until)
            self._bring_back()
        self.clock.now = max(self.clock.now, until)

    def _bring_back(self) -> None:
        missing, self._missing = [process for process in self._missing if self.is_missed(process)], []
        for process in missing:
            self.undisturbed(process.return_and_beat)
            # One in the middle of a beat cannot be: what comes now is beyond what is assumed.
            self.is_over |= not process.is_told

    def is_missed(self, process: Process) -> bool:
        """It knows of what Redis has lost, and has not said so yet."""
        return process in self._missing and process.name in self.alive and not process.is_told

    def undisturbed(self, act: Callable[[], object]) -> None:
        """Do it, and nothing else in between."""
        depth, self._depth = self._depth, MOST_DEEP
        act()
        self._depth = depth

    def lose(self, rewind_to: Mapping[bytes, bytes]) -> None:
        """Redis has lost all that came after that; see :meth:`_pass` for those who are cut off."""
        self.rewind(rewind_to)
        self._missing = [process for process in self.fleet if process.knows_redis]
        self._missing_until = self.clock.now + LEASE + self.source.limits[0].window_seconds - 0.1

    def meanwhile(self) -> None:
        """Something is under way: what is marked to happen in between does."""
        while self._depth < MOST_DEEP and self._ahead and self._ahead[0].odd % 4 == 3:
            self._depth += 1
            try:
                self.step()
            finally:
                self._depth -= 1

    def end(self) -> None:
        """Everyone is back, and nothing is under way any more."""
        for process in self.fleet:
            process.mend()
            process.end()

    @property
    def left_over(self) -> list[str]:
        """The slots that Redis counts although nobody sent with them, or holds although they are over."""
        slots = self.producer.store.keys.slots(self.source.name)
        # Stamps are rounded.
        over = self.clock.now + 1e-5
        counted = over - self.source.limits[0].window_seconds
        ages = {slot: age for process in self.fleet for slot, age in process.process_window.ages()}
        # What became of theirs nobody else knows.
        theirs = {slot for process in self.gone for slot in process.names}
        return [
            name.decode()
            for name, stamp in self.redis.zrange(slots, 0, -1, withscores=True)
            if name.decode() not in theirs
            and not any(process.consumer._token in name.decode() for process in self.gone)
            and stamp > MICROS * (over if name.decode() in ages else counted)
            and ages.get(name.decode(), 0.0) >= 0
        ]

    def most_in_a_window(self) -> int:
        """The most arrivals in any span of the limit's window."""
        times, (limit,) = sorted(self.arrivals), self.source.limits
        # What a float of so many seconds, and a stamp of whole microseconds, are off by.
        span = limit.window_seconds - 5e-6
        return max((sum(1 for one in times if at - span < one <= at) for at in times), default=0)


def _everyone(world: World, act: Callable[[Process], object]) -> None:
    for process in world.fleet:
        act(process)


def _fill(world: World, process: Process) -> None:
    """Take all there is; the others say that they are there, and give back what is kept for them."""
    for _ in range(3):
        while process.take():
            pass
        for other in world.fleet:
            if other is not process:
                other.beat(gives_up_allowances=True)


def _lose(world: World, rewind_to: Mapping[bytes, bytes], odd: int) -> None:
    """Redis loses what came after, or all, and is away meanwhile where ``odd`` is even.

    Assumed of that moment (docs/limits.md, where the bound ends): somebody has beaten since the last slot was
    taken, and is the first who asks again.
    """
    connected = [process for process in world.fleet if process.knows_redis and not process.is_away]
    if not (world.is_settled and connected):
        return
    world.undisturbed(world.let_all_beat)
    world.undisturbed(world.let_all_beat)
    world.clock.now += 0.001
    if odd % 2 == 0:
        _everyone(world, Process.cut_off)
    world.lose(rewind_to)
    world.undisturbed(connected[0].return_and_beat)
    world.let_all_beat()


def _write_over(world: World) -> None:
    """Something else is written over the slots, and every process learns of it with its next beat. What is
    assumed of that moment is what :func:`_lose` assumes."""
    connected = [process for process in world.fleet if process.knows_redis and not process.is_away]
    if not (world.is_settled and connected):
        return
    world.undisturbed(world.let_all_beat)
    world.undisturbed(world.let_all_beat)
    world.clock.now += 0.001
    world.redis.set(world.slots_key, "nothing of ours")
    world.undisturbed(connected[0].beat)
    world.let_all_beat()


def _remove(world: World) -> None:
    """What was written over the slots is removed, and nothing put back."""
    if world.redis.type(world.slots_key) == b"string":
        world.redis.delete(world.slots_key)


def _save(world: World) -> None:
    if world.is_settled:
        world.saved = world.save()
        world.clock.now += 0.001


def _start(world: World, beside: Process) -> None:
    """One more, which reaches Redis if the one beside it does."""
    if len(world.fleet) < MOST_PROCESSES:
        world.fleet.append(world.start())
        world.fleet[-1].store.is_down = beside.store.is_down


def _leave(world: World, process: Process) -> None:
    if len(world.fleet) > 1 and world.is_settled and not world.is_missed(process):
        world.leave(process)


def _kill(world: World, process: Process) -> None:
    """Assumed of it (docs/limits.md, where the bound ends): what it has sent is known, or is kept for it."""
    if not (world.is_missed(process) or process.is_unknown):
        world.kill(process)


WAYS: dict[str, Callable[[World, Process, int], object]] = {
    "fill": lambda world, process, _: _fill(world, process),
    "take": lambda world, process, _: process.take(),
    "admit": lambda world, process, odd: process.admit(world.symbol(), patience=odd * 1.0),
    "admit the same": lambda world, process, odd: process.admit(f"SAME{odd}"),
    "turn": lambda world, process, _: process.turn(),
    "work": lambda world, process, _: process.work(),
    "settle": lambda world, process, _: process.settle(),
    "ask unheard": lambda world, process, odd: process.ask_unconfirmed(odd),
    "use what was promised": lambda world, process, _: process.use_promised(),
    "beat": lambda world, process, _: process.beat(),
    "give up": lambda world, process, _: process.beat(gives_up_allowances=True),
    "cut off": lambda world, process, _: process.cut_off(),
    "cut all off": lambda world, _, __: _everyone(world, Process.cut_off),
    "mend": lambda world, process, _: process.mend(),
    "mend all": lambda world, _, __: _everyone(world, Process.mend),
    "kill": lambda world, process, _: _kill(world, process),
}
#: Redis loses data, and processes come and go.
LOSING: dict[str, Callable[[World, Process, int], object]] = {
    "lose all": lambda world, _, odd: _lose(world, {}, odd),
    "write over": lambda world, _, __: _write_over(world),
    "remove": lambda world, _, __: _remove(world),
    "save": lambda world, _, __: _save(world),
    "go back": lambda world, _, odd: _lose(world, world.saved, odd) if world.saved else None,
    "start": lambda world, process, _: _start(world, process),
    "leave": lambda world, process, _: _leave(world, process),
}
