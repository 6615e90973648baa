"""``python -m tests.unique --runs 10000``: asks for the same fetches, and workers of them, in random order.

A run is a queue on a server, with the real scripts, which are told the time: asks in both lanes, of several
strengths, alone and many at once; answers in the cache; workers that end their jobs, put them off, give them
back, dead-letter them or die; answers that are removed, and all of a source that are cleared, also while they
are loaded; and time. After each step it is looked at what must hold whatever the order: a fetch has one job,
and one more only beside a running one that does not serve the ask; no two are in workers' hands; each ask is
answered by a load that began late enough, after all removals before the ask; and nothing is left at the end.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeVar

import redis

from tbcache.cache.script import CLEAR, DROP, ClearPattern, Drop
from tbcache.limiter import WindowKeys
from tbcache.models import FetchRequest, Lane
from tbcache.queue.account import Account
from tbcache.queue.batch import _call, asks_for
from tbcache.queue.script import (
    DEQUEUE,
    ENQUEUE,
    FINISH,
    Dequeue,
    Dequeued,
    FinishJobs,
    Queued,
    queue_keys,
    queued_of,
)
from tbcache.queue.wants import Wants
from tbcache.store import Keys
from tbcache.store.envelope import seal
from tbcache.store.script import Script
from tbcache.store.today import Today
from tbcache.store.wire import MICROS
from tests.server import Server

SOURCE = "s"
KEYS = Keys("t", frozenset({SOURCE}))
QUEUE = queue_keys(KEYS, SOURCE)
WINDOW = WindowKeys(KEYS.slots(SOURCE), KEYS.state(SOURCE), KEYS.fleet(SOURCE))
START = 1_800_000_000.0
#: How scripts learn the time, and what they are told in its place.
TIME, CLOCK = "redis.call('TIME')", f"t:{{{SOURCE}}}:clock"
TOLD = f"redis.call('HMGET', '{CLOCK}', 's', 'us')"
#: Seconds for which an answer is fresh, and a job is a worker's.
TTL, CLAIM = 10.0, 4.0
STEPS = 24
MOST_TO_DRAIN = 150
#: Two moments are the same within a microsecond or two: they travel as numbers of seconds.
NEARLY = 1e-4


R = TypeVar("R")


class Broken(AssertionError):
    """What must hold did not."""


@dataclass
class Answer:
    """What a job, or the cache, gives: when its load began, and until when it is fresh."""

    begun: float
    fresh_until: float


@dataclass
class Asked:
    """An ask that waits for its job."""

    at: float
    lane: Lane
    needed: float
    after: float


@dataclass
class Job:
    """A job that is not over, and who waits for it."""

    key: str
    needed: float
    after: float
    asked: list[Asked] = field(default_factory=list)
    #: Since when it is in a worker's hands; None while it is not.
    begun: float | None = None
    claim: str = ""
    #: The answer that it found in the cache as it began.
    found: Answer | None = None
    #: What it loads was removed meanwhile: it is not stored.
    is_dropped: bool = False

    def serves(self, asked: Asked) -> bool:
        """Whether its run, which has begun, is what is asked for."""
        assert self.begun is not None
        if self.is_dropped:
            return False
        if asked.after:
            return self.after > 0 and self.begun >= asked.after - NEARLY
        return asked.needed <= self.needed or self.after > 0


class Client:
    """Runs scripts by a time of its own."""

    def __init__(self, server: redis.Redis) -> None:
        self.server = server
        self._digests: dict[str, Any] = {}

    def run(self, script: Script[Any, R], call: Any, now: float) -> R:
        """What a script replies at a moment."""
        digest = self._digests.get(script.name) or self._load(script)
        seconds, micros = divmod(round(now * MICROS), MICROS)
        self.server.hset(CLOCK, mapping={"s": seconds, "us": micros})
        return script.read(self.server.evalsha(digest, *script.pack(call)))

    def _load(self, script: Script[Any, Any]) -> Any:
        text = script.text
        assert TIME in text or "'TIME'" not in text
        self._digests[script.name] = self.server.script_load(text.replace(TIME, TOLD))
        return self._digests[script.name]


class Run:
    """One order of events, which follows from ``seed``."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client, self._redis = client, client.server
        self._redis.flushall()
        self._chance = random.Random(seed)
        self.now = START
        self.jobs: dict[str, Job] = {}
        self.cached: dict[str, Answer] = {}
        self.trace: list[str] = []
        self._takes = 0

    def go(self) -> None:
        """
        Raises:
          Broken: something that must hold does not.
        """
        acts = [self._ask] * 5 + [self._take] * 3 + [self._end] * 3 + [self._pass] * 3 + [self._load]
        acts += [self._remove] * 2 + [self._clear]
        for _ in range(STEPS):
            self._chance.choice(acts)()
        self._drain()

    # What happens

    def _pass(self) -> None:
        self.now += self._chance.choice([0.01, 0.3, 1.0, CLAIM + 0.1])

    def _load(self) -> None:
        """A process loads an answer without the queue."""
        self._cache(self._chance.choice("AB"), Answer(self.now, self.now + TTL))

    def _remove(self) -> None:
        """A process removes an answer, also one that is being loaded."""
        symbol = self._chance.choice("AB")
        self._say("remove", symbol)
        self._drop(symbol)
        self._client.run(DROP, Drop((QUEUE.pending,), (key_of(symbol),)), self.now)

    def _clear(self) -> None:
        """A process clears the source. What begins in the very microsecond counts as begun before."""
        self._say("clear")
        self._client.run(CLEAR, ClearPattern(KEYS.clears(SOURCE), f"{SOURCE}:*"), self.now)
        for symbol in "AB":
            self._drop(symbol)
        self.now += 0.001

    def _drop(self, symbol: str) -> None:
        self.cached.pop(symbol, None)
        self._redis.unlink(KEYS.entry(key_of(symbol)))
        for job in self.jobs.values():
            if job.key == symbol and job.begun is not None:
                job.is_dropped = True

    def _ask(self) -> None:
        chance = self._chance
        symbols = chance.choice([["A"], ["A"], ["B"], ["A", "B"], ["A", "A"]])
        lane: Lane = chance.choice(["interactive", "prewarm"])
        delay = chance.choice([0.0, 0.0, 0.0, 2.0])
        needed = chance.choice([0.0, 0.0, 4.0, 8.0])
        after = chance.choice([0.0, 0.0, self.now, self.now - 0.5, self.now + 5.0])
        wants = Wants(Account("x", 1_000_000), lane, delay, needed, after)
        asks = asks_for([FetchRequest(SOURCE, symbol) for symbol in symbols], wants, "x")
        clock: Any = SimpleNamespace(today=datetime.fromtimestamp(self.now, UTC), day=int(self.now) // 86_400)
        store: Any = SimpleNamespace(keys=KEYS, clock=clock, today=Today(KEYS, clock))
        replied = self._client.run(ENQUEUE, _call(store, SOURCE, asks, wants), self.now)
        queued = queued_of((ask.id for ask in asks), replied)
        for symbol, one in zip(symbols, queued, strict=True):
            self._say(
                "ask",
                symbol,
                lane,
                f"needed={needed:g}",
                f"after={after and after - START:g}",
                one.state,
                one.id,
            )
            self._placed(symbol, one, Asked(self.now, lane, needed, min(after, self.now)), delay)

    def _placed(self, symbol: str, queued: Queued, asked: Asked, delay: float) -> None:
        if queued.state == "hit":
            self._hit(symbol, asked, delay)
            return
        others = {id: job for id, job in self.jobs.items() if job.key == symbol}
        if queued.state == "joined":
            if queued.id not in others:
                raise Broken(f"an ask for {symbol} joined {queued.id}, which is over")
        else:
            self._check_new(symbol, list(others.values()), asked)
            self.jobs[queued.id] = Job(symbol, asked.needed, asked.after)
        job = self.jobs[queued.id]
        if job.begun is not None and job.is_dropped:
            raise Broken(f"an ask for {symbol} joined {queued.id}, whose answer is not stored")
        if job.begun is not None and not job.serves(asked):
            raise Broken(f"an ask for {symbol} joined {queued.id}, which began too early")
        if job.begun is None:
            job.needed, job.after = max(job.needed, asked.needed), max(job.after, asked.after)
        job.asked.append(asked)

    def _hit(self, symbol: str, asked: Asked, delay: float) -> None:
        found = self.cached.get(symbol)
        if asked.after or found is None or found.fresh_until <= self.now + delay + asked.needed:
            raise Broken(f"an ask for {symbol} got an answer that is too old")

    def _check_new(self, symbol: str, others: list[Job], asked: Asked) -> None:
        if len(others) > 1:
            raise Broken(f"a third job for {symbol}")
        if others and (others[0].begun is None or others[0].serves(asked)):
            raise Broken(f"a second job for {symbol}, beside one that serves the ask")

    def _take(self) -> None:
        self._takes += 1
        found = self._client.run(DEQUEUE, self._dequeue(), self.now)
        assert isinstance(found, Dequeued)
        self._lapse()
        for handed_out in found.jobs:
            self._begin(handed_out.claim.decode(), json.loads(handed_out.message)["kwargs"])
        self._say("take", *(one.claim.decode() for one in found.jobs))

    def _begin(self, claim: str, words: dict[str, Any]) -> None:
        id = claim.rpartition("/")[0]
        job = self.jobs.get(id)
        if job is None:
            raise Broken(f"{id} was handed out, and is over")
        if any(other.begun is not None and other.key == job.key for other in self.jobs.values()):
            raise Broken(f"two jobs for {job.key} are in workers' hands")
        if ("after" in words) < (job.after > 0) or words["needed"] < job.needed - NEARLY:
            raise Broken(f"{id} is told {words}, and {job} is asked of it")
        if any(one.lane == "interactive" for one in job.asked) and words["lane"] != "interactive":
            raise Broken(f"{id} is told that nobody waits for it")
        job.begun, job.claim, job.is_dropped = self.now, claim, False
        known = self.cached.get(job.key)
        is_answer = known is not None and known.fresh_until > self.now + job.needed and not job.after
        job.found = known if is_answer else None

    def _lapse(self) -> None:
        """The jobs of workers that died wait again."""
        claims = {claim.decode() for claim in self._redis.zrange(QUEUE.claims, 0, -1)}
        for job in self.jobs.values():
            if job.begun is not None and job.claim not in claims:
                job.begun = None

    def _end(self, what: str = "") -> None:
        running = [id for id, job in self.jobs.items() if job.begun is not None]
        if not running:
            return
        id = self._chance.choice(running)
        what = what or self._chance.choice(["done", "done", "done", "later", "back", "dead", "die"])
        job = self.jobs[id]
        self._say("end", id, what)
        if what == "die":
            self._redis.zadd(QUEUE.claims, {job.claim: 1}, xx=True)
            return
        if what == "done" and job.found is None:
            job.found = Answer(job.begun or 0.0, self.now + TTL)
            if not job.is_dropped:
                self._cache(job.key, job.found)
        ends = (job.claim, what, '{"message":"x"}', 1_000_000, 0, 0, "why", 0, "")
        (said,) = self._client.run(FINISH, FinishJobs(QUEUE, WINDOW.slots, 9, 0, ends), self.now)
        if said == "gone":
            return
        if what in ("later", "back"):
            job.begun = None
        else:
            del self.jobs[id]
            self._check_over(id, job, what)

    def _check_over(self, id: str, job: Job, what: str) -> None:
        for asked in job.asked if what == "done" else ():
            assert job.found is not None
            if asked.after and job.found.begun < asked.after - NEARLY:
                raise Broken(
                    f"an ask for what begins after {asked.after - START:g} got an older answer of {id}"
                )
            if job.found.fresh_until < min(asked.at, job.begun or 0.0) + asked.needed - NEARLY:
                raise Broken(f"{id} answers an ask for {asked.needed:g} s with what is fresh for less")

    def _drain(self) -> None:
        """Workers do what is left."""
        for _ in range(MOST_TO_DRAIN):
            if not self.jobs:
                break
            self.now += 0.5
            self._take()
            self._end("done")
        else:
            raise Broken(f"{len(self.jobs)} jobs are never done: {self.jobs}")
        parts = (*QUEUE[:5], QUEUE.delayed, QUEUE.claims, QUEUE.jobs, QUEUE.lanes, QUEUE.pending, QUEUE.keys)
        left = [part for part in parts if self._redis.exists(part)]
        if left:
            raise Broken(f"left behind: {left}")

    # Helpers

    def _cache(self, symbol: str, answer: Answer) -> None:
        self.cached[symbol] = answer
        # It is newer than any clear.
        entry = seal(b"{}", round(answer.fresh_until * MICROS), birth=round(self.now * MICROS) + STEPS)
        self._redis.set(KEYS.entry(key_of(symbol)), entry)

    def _dequeue(self) -> Dequeue:
        living = [job.claim for job in self.jobs.values() if job.begun is not None]
        held = tuple(part for claim in living if self._is_alive(claim) for part in (claim, 0))
        return Dequeue(
            queue=QUEUE,
            window=WINDOW,
            clears=KEYS.clears(SOURCE),
            most=self._chance.choice([1, 2]),
            limits="1000:1000000",
            prewarm_fraction=1.0,
            hold_us=5_000_000,
            claim_us=round(CLAIM * MICROS),
            present_us=0,
            present="",
            suffix=f"{self._takes}.",
            most_deaths=1000,
            asked_us=0,
            deadline_us=0,
            process="p",
            cost=1,
            readiness="free" if not living and self._chance.random() < 0.5 else "idle",
            charge="fetch",
            seen_before="",
            in_hand=held,
        )

    def _is_alive(self, claim: str) -> bool:
        """Whether the worker that has it renews it: mostly."""
        until = self._redis.zscore(QUEUE.claims, claim) or 0.0
        return until > self.now * MICROS and self._chance.random() < 0.8

    def _say(self, *words: str) -> None:
        self.trace.append(f"{self.now - START:8.2f} {' '.join(words)}")


def key_of(symbol: str) -> str:
    """The key of the fetch of a symbol."""
    return FetchRequest(SOURCE, symbol).key


def run(client: Client, seed: int) -> str:
    """What broke in the run of a seed; "" where nothing did."""
    current = Run(client, seed)
    try:
        current.go()
    except Broken as error:
        return "\n".join([*current.trace, f"seed {seed}: {error}"])
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.unique", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    began, failed = time.monotonic(), 0
    server = Server().start()
    try:
        client = Client(server.client)
        for seed in range(options.first, options.first + options.runs):
            if found := run(client, seed):
                failed += 1
                print(found, flush=True)
                if failed == 3:
                    break
    finally:
        server.close()
    print(f"{seed + 1 - options.first} runs, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
