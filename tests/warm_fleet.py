"""A fleet in virtual time that keeps answers warm: bots that ask, schedulers, a worker, and one source."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dramatiq

from scheduler.leader import TICK_SECONDS, Leader
from scheduler.prewarm import Prewarm
from tbcache import FetchRequest, HttpRequest, Item, Page, Provider, RawResponse, get_provider
from tbcache.io import utc_now
from tbcache.models.error import TbcacheError
from tbcache.monitoring import get_usage_monitor
from tbcache.queue import PacingBroker, actor_name, get_queue
from tbcache.queue.middleware import JobMiddleware
from tbcache.settings import get_settings, get_source
from tbcache.store import get_store
from tbcache.testing import SimulatedFleet
from tbcache.testing.simulated.kernel import here
from tbcache.testing.simulated.process import SimulatedProcess

NAME = "warmed"
THREADS = 8
MOST_EVENTS = 100_000_000
#: An answer of the upstream takes so long (s).
LATENCY = 0.3
#: An ask that takes longer has waited for more than Redis.
AT_ONCE = 0.2


@dataclass
class Seen:
    """What happened: of each call upstream when it came, for what and in which lane; of each ask when it was
    made, for what, and whether it was answered at once."""

    calls: list[tuple[float, str]] = field(default_factory=list)
    asks: list[tuple[float, str, bool]] = field(default_factory=list)

    def since(self, moment: float) -> Seen:
        return Seen(
            [one for one in self.calls if one[0] >= moment], [one for one in self.asks if one[0] >= moment]
        )

    @property
    def fresh(self) -> float:
        """The part of the asks that were answered at once."""
        return sum(is_fresh for _, _, is_fresh in self.asks) / max(1, len(self.asks))


class Warmed(Provider):
    """An upstream that always has one new item."""

    seen = Seen()
    sleep: Any = None

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        return HttpRequest("GET", self.source.base_url, {"symbol": fetch.symbol})

    def send(self, request: HttpRequest) -> RawResponse:
        kernel = here()
        assert kernel is not None
        self.seen.calls.append((kernel.now, request.params["symbol"]))
        kernel.sleep(LATENCY)
        return RawResponse(200, {}, b"{}", received_at=utc_now())

    def parse(self, response: RawResponse) -> Page:
        at = response.received_at
        return Page((Item(f"{at.timestamp()}", at, "up", score=0.5),), exhausted=True)


class WarmFleet:
    """Use :func:`running`. ``seen`` has what happened so far."""

    def __init__(self, fleet: SimulatedFleet, seed: int) -> None:
        self.fleet, self.seen = fleet, Seen()
        # Hours of a fleet are no loop.
        fleet._fleet.kernel._most = MOST_EVENTS
        self._random = random.Random(seed)
        Warmed.seen = self.seen
        self.leaders: dict[str, Leader] = {}

    @property
    def now(self) -> float:
        return self.fleet.now

    def begin(self, name: str, work: Any, *args: Any) -> SimulatedProcess:
        process = self.fleet.process(name)
        # Its error is one of the whole fleet.
        process.spawn(name, lambda: work(*args))
        return process

    def scheduler(self, name: str) -> SimulatedProcess:
        return self.begin(name, self._schedule, name)

    def worker(self, name: str = "worker") -> SimulatedProcess:
        return self.begin(name, self._work)

    def know(self, rates: Mapping[str, float]) -> None:
        """As after an hour in which each symbol was asked for so often a second."""

        def write() -> None:
            store = get_store()
            name = store.keys.asked(NAME, store.clock.today - timedelta(hours=1))
            counts = {f"{NAME}:{symbol}:24": round(rate * 3600) for symbol, rate in rates.items()}
            store.change(*(("HINCRBY", name, *one) for one in counts.items()), ("EXPIRE", name, 7200))

        # The clocks of processes differ by seconds, and a world begins with an hour.
        self.fleet.advance(10.0)
        self.fleet.process("past").call(write).result()

    def bots(self, rates: Mapping[str, float], count: int = 4) -> None:
        """Bots that together ask for each symbol so often a second, at Poisson times."""
        for number in range(count):
            self.begin(f"bot-{number}", self._ask, {one: rate / count for one, rate in rates.items()})

    def _schedule(self, name: str) -> None:
        """What ``python -m scheduler`` does each tick."""
        store, queue, settings = get_store(), get_queue(), get_settings()
        monitor = get_usage_monitor()
        monitor.keep_beating("scheduler")
        leader = self.leaders[name] = Leader(store, name, [NAME])
        prewarm = Prewarm(store, queue, settings, monitor)
        while True:
            leader.work(prewarm.run)
            self.fleet.sleep(TICK_SECONDS)

    def _ask(self, rates: Mapping[str, float]) -> None:
        """Each ask has a thread of its own: one that waits holds up no other."""
        provider, total = get_provider(NAME), sum(rates.values())
        symbols, weights = [*rates], [*rates.values()]
        kernel = here()
        assert kernel is not None
        home: Any = kernel.current.home  # type: ignore[union-attr]
        while True:
            self.fleet.sleep(self._random.expovariate(total))
            symbol = self._random.choices(symbols, weights)[0]
            home.spawn("ask", lambda symbol=symbol: self._ask_once(provider, symbol))

    def _ask_once(self, provider: Provider, symbol: str) -> None:
        began = self.now
        try:
            origin = provider.fetch(symbol).origin
        except TbcacheError:
            origin = "none"
        self.seen.asks.append((began, symbol, origin == "cache" and self.now - began < AT_ONCE))

    def _work(self) -> None:
        """What a worker of dramatiq's does, whose threads are none of the world's."""
        settings = get_settings()
        source, provider = get_source(NAME, settings), get_provider(NAME)
        get_usage_monitor().keep_beating("worker")
        broker = PacingBroker(get_store(), settings, [source])
        dramatiq.actor(actor_name=actor_name(NAME), queue_name=NAME, broker=broker)(lambda **_: None)
        broker.threads.open(THREADS)
        consumer, middleware = broker.consume(NAME, timeout=500), JobMiddleware()
        kernel = here()
        assert kernel is not None
        home: Any = kernel.current.home  # type: ignore[union-attr]

        def do(message: Any) -> None:
            outcome = error = None
            kwargs, slot = message.kwargs, message.options["slot"]
            request = provider.source.request(kwargs["symbol"], kwargs["hours"])
            try:
                outcome = provider.run(
                    request, lane=kwargs["lane"], patience=0.0, needed=kwargs["needed"], slot=slot
                )
            except TbcacheError as raised:
                error = raised
            middleware.after_process_message(broker, message, result=outcome, exception=error)
            consumer.ack(message)

        while True:
            message = next(consumer)
            if message is None:
                kernel.sleep(1e-6)
            else:
                home.spawn("job", lambda message=message: do(message))


@contextmanager
def running(seed: int = 0, **variables: str) -> Iterator[WarmFleet]:
    """Nothing runs in it yet. ``variables`` are the source's, as ``LIMITS``, or whole names."""
    named = {
        (name if name.startswith("TBCACHE_") else f"TBCACHE_{NAME.upper()}__{name}"): value
        for name, value in variables.items()
    }
    settings = {
        "TBCACHE_SOURCES": f"{NAME}={__name__}:Warmed",
        "TBCACHE_PERSIST": "false",
        "TBCACHE_LOG_LEVEL": "error",
        f"TBCACHE_{NAME.upper()}__PAGES": "1",
        **named,
    }
    with SimulatedFleet(seed, variables=settings) as fleet:
        yield WarmFleet(fleet, seed)
