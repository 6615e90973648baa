"""One world: its processes, its server, its upstream, and all that goes wrong in it."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tbcache.models import Limit
from tbcache.models.price import Price
from tbcache.settings import BUILT_IN, BUILT_IN_NAMES, Settings
from tbcache.store.key import Keys
from tbcache.testing.simulated.chance import Chance
from tbcache.testing.simulated.connection import Weather
from tbcache.testing.simulated.kernel import START, Killed, Stuck, Task, inhabited, micros
from tbcache.testing.simulated.machine import Machine
from tests.simulation.fair import Fairness
from tests.simulation.oracle import Oracle
from tests.simulation.process import LOOP, Process
from tests.simulation.upstream import Upstream
from tests.simulation.work import WORKER_THREADS

TIMEOUT, PAGE_DOLLARS = 0.25, 0.01
FREE = Price()
#: Of callers, each of which is a process.
WEIGHTS = "bot-1=2,bot-2=0.5,bot-4=3,bot-6=2"
#: The first one after a world's beginning.
MIDNIGHT = START - START % 86400 + 86400
#: So much of what came last is shown of a world in which something broke.
SHOWN = 4000


class Broken(Exception):
    """A promise does not hold."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise, self.what = promise, what


@dataclass(frozen=True, slots=True)
class Shape:
    """What a world is made of."""

    limits: tuple[Limit, ...] = (Limit(6, 2.0),)
    bots: int = 3
    #: Bots whose program runs in an event loop.
    loops: int = 0
    workers: int = 1
    schedulers: int = 0
    pages: int = 1
    cost: int = 1
    cache_ttl: float = 3.0
    stale_ttl: float = 2.0
    claim_seconds: float = 2.0
    lease: float = 1.0
    #: A day's budget, in pages; 0: none.
    budget: int = 0
    #: Seconds from its beginning to midnight (UTC); 0: many.
    to_midnight: float = 0.0
    #: Workers show Redis that they are there.
    is_shown: bool = True
    #: There is a queue beside that no source paces.
    is_plain: bool = False
    #: Processes count what they do, and history is kept of it.
    is_counted: bool = False
    #: What callers get of a queue goes by their weights, and nothing goes wrong.
    is_fair: bool = False
    weather: Weather = field(default_factory=Weather)


class World(Machine):
    """Begins with everything well. Use it as a context: it ends all that runs in it."""

    def __init__(
        self, seed: int, shape: Shape, watch: Callable[[World], object] = lambda world: None
    ) -> None:
        """``watch`` is called before anything happens."""
        super().__init__(seed, replace(shape.weather))
        self.shape = shape
        self.kernel.ended = self._ended
        if shape.to_midnight:
            self.kernel.begins_at = MIDNIGHT - round(shape.to_midnight)
        self.failures: list[Broken] = []
        #: Nobody asks for anything new; and then: all are to end.
        self.is_calm = self.is_closing = False
        self.claim_seconds, self.lease = shape.claim_seconds, shape.lease
        #: Some load values of the cache's own, and operators act.
        self.has_values = self.is_operated = False
        #: Somebody was killed, and has told nobody what it held.
        self.has_dead = False
        #: Somebody has ended while Redis was away, and has not told what it paid.
        self.has_untold = False
        #: Until when what was broken is beyond what is assumed (us).
        self.excused_until = 0
        #: When something was counted (s since 1970, by the server's clock).
        self.noted: list[float] = []
        self._numbers = itertools.count(1)
        self._digest = hashlib.sha256()
        self.last: deque[str] = deque(maxlen=SHOWN)
        self.settings = Settings.load(
            {
                "REDIS_URL": "redis://127.0.0.1:1/0",
                "TBCACHE_NAMESPACE": "ns",
                # Else it is the program that runs the tests.
                "TBCACHE_CALLER": "somebody",
                "TBCACHE_LEASE_SECONDS": str(shape.lease),
                "TBCACHE_REDIS_TIMEOUT": str(TIMEOUT),
                "TBCACHE_CALLER_WEIGHTS": WEIGHTS,
            }
        )
        self.source = replace(
            BUILT_IN["reddit"],
            limits=shape.limits,
            missing=(),
            pages=shape.pages,
            cost=shape.cost,
            cache_ttl=shape.cache_ttl,
            stale_ttl=shape.stale_ttl,
            price=Price(per_request=PAGE_DOLLARS) if shape.budget else FREE,
            daily_budget=shape.budget * PAGE_DOLLARS or None,
        )
        self.upstream = Upstream(self.kernel, self.source, Chance(seed, "upstream"), self.broken)
        self.upstream.most_over = self.source.price.per_page * _pages_over(shape)
        self.upstream.is_counting = lambda: self.kernel.now_us >= self.excused_until
        self._inhabited, self._watch = inhabited(self.kernel), watch

    def __enter__(self) -> World:
        self._inhabited.__enter__()
        counts = (
            ("bot", self.shape.bots),
            (LOOP, self.shape.loops),
            ("worker", self.shape.workers),
            ("scheduler", self.shape.schedulers),
        )
        kinds = [kind for kind, count in counts for _ in range(count)]
        keys = Keys("ns", frozenset(BUILT_IN_NAMES))
        self.oracle = Oracle(
            keys,
            self.source,
            self.server.keyspace,
            self.server.now_us,
            lambda: self.kernel.now_us,
            self.lease,
            self.broken,
            self._is_shown,
        )
        if self.shape.is_fair:
            weights = self.settings.caller_weights
            self.oracle.fairness = Fairness(self.oracle, self.source.name, weights)
        self.server.listeners.append(self._on_told)
        self._watch(self)
        # Not all at once: what they do now and then would be in step for ever.
        chance = Chance(self.seed, "beginning")
        for kind in kinds:
            self.kernel.after(chance.uniform(0.0, 0.5), functools.partial(self.begin, kind))
        return self

    def __exit__(self, *_: object) -> None:
        self.kernel.end()
        self._inhabited.__exit__(None, None, None)

    # What is written down

    @property
    def hash(self) -> str:
        """The digest of all that has happened."""
        return self._digest.hexdigest()[:16]

    def note(self, what: str) -> None:
        line = f"{self.kernel.now_us / 1e6:10.6f} {what}"
        self.last.append(line)
        self._digest.update(line.encode() + b"\n")

    def broken(self, promise: str, what: str) -> None:
        """Take note of a promise that does not hold, unless that is beyond what is assumed."""
        if self.kernel.now_us < self.excused_until and promise in ("limit", "slots", "shares", "allowances"):
            return
        self.note(f"BROKEN {promise}: {what}")
        self.failures.append(Broken(promise, what))

    def _on_told(self, who: str, command: tuple[bytes, ...], answer: Any) -> None:
        what = self.oracle.hear(who, command, answer)
        self.note(f"{who} {what} -> {_short(answer)}")

    def _ended(self, task: Task) -> None:
        error = task.error
        if error is not None and not isinstance(error, Killed | CancelledError) and not task.is_awaited:
            self.broken("errors", f"{task.home.name} {task.name}: {type(error).__name__}: {error}")
            self.failures[-1].__cause__ = error

    # Processes

    @property
    def active(self) -> list[Process]:
        """Those that live, and are not about to end."""
        return [process for process in self.living if not process.is_leaving]

    def _is_shown(self, name: str) -> bool:
        """Whether a process is there, and Redis can know that."""
        return any(
            one.name == name
            and self.server.listeners_of(self.oracle.keys.present(one.work.presence.name).encode())
            for one in self.living
        )

    def number(self) -> int:
        return next(self._numbers)

    def begin(self, kind: str) -> Process:
        process = Process(self, f"{kind}-{self.number()}", kind)
        self.living.append(process)
        if kind == "worker" and not self.is_calm:
            self.upstream.most_over += self.source.price.per_page * WORKER_THREADS
        self.note(f"{process.name} begins")
        return process

    def kill(self, process: Process) -> None:
        if process in self.living:
            self.note(f"{process.name} is killed")
            self.has_dead = True
            self.upstream.forgo(process.name)
            self.living.remove(process)
            self.kernel.kill(process)

    def gone(self, process: Process) -> None:
        if process in self.living:
            self.note(f"{process.name} is over")
            self.living.remove(process)
            self.kernel.after(0.0, lambda: self.kernel.kill(process))

    # Time

    def run(self, seconds: float) -> None:
        try:
            self.kernel.run(self.kernel.now_us + micros(seconds), lambda: bool(self.failures))
        except Stuck as error:
            self.broken("stuck", str(error))


def _short(value: Any) -> str:
    if isinstance(value, tuple | list):
        return " ".join(map(_short, value[:20]))
    if isinstance(value, bytes):
        return value[:40].decode(errors="replace").replace("\n", " ")
    return str(value)[:40]


def _pages_over(shape: Shape) -> int:
    """By so many pages the day's bill may be over the budget, see docs/limits.md: one that Redis allowed, and
    what others pay in the second that a purse is old. What a worker has under way as it is cut off
    comes on top.
    """
    a_second = sum(math.ceil(limit.count / min(1.0, limit.window_seconds)) for limit in shape.limits[:1])
    return 1 + a_second
