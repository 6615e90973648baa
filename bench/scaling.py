"""How many pods a day takes, by what is wanted and by the backlog, in virtual time.

    python -m bench.scaling [--hours N] [--seed N]

Three sources with the limits of the built-in ones, and a queue of a user's own without one. The asks are
those of a market day: little at night, a burst at the opening, and each hour of trading reports that only
lack threads. Behind them, in the lane that gives way, are pre-warms each five minutes, and two bulk loads
that wait for the limits for hours. An autoscaler adds pods of 8 threads, and takes them away: by
``tbcache_workers_wanted`` (tbcache/fleet/scale.py), and by the backlog over a target, with the best of
several targets. A pod starts within 20 s, and is taken away when fewer were wanted for 2 minutes. What
counts is how long those wait who ask. Ends with 1 where the pod-hours are more than half of those by the
backlog that has no longer a wait (p95).
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tbcache.fleet.scale import HORIZON_SECONDS, QueueLoad, scale_of

POLL_SECONDS, START_SECONDS, CALM_SECONDS = 15, 20, 120
THREADS, MOST_PODS = 8, 20
#: For how many jobs a pod is added, where it goes by the backlog.
TARGETS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
STEP = 0.1


class Upstream(NamedTuple):
    """A source: ``count`` in any ``window`` seconds, 0 for no limit; a job takes ``seconds``."""

    name: str
    count: int
    window: float
    seconds: float

    @property
    def rate(self) -> float:
        return self.count / self.window


SOURCES = (
    Upstream("twitter", 300, 900.0, 1.5),
    Upstream("reddit", 60, 60.0, 0.8),
    Upstream("news", 100, 60.0, 0.6),
    Upstream("reports", 0, 1.0, 1.0),
)


class Arrival(NamedTuple):
    at: float
    is_asked: bool


@dataclass(slots=True)
class Line:
    """The queue of one source, and its window; ``arrivals`` in their order."""

    upstream: Upstream
    arrivals: Sequence[Arrival]
    asked: deque[float] = field(default_factory=deque)
    behind: deque[float] = field(default_factory=deque)
    stamps: deque[float] = field(default_factory=deque)
    begun: Counter[int] = field(default_factory=Counter)
    next_arrival: int = 0
    running: int = 0
    waits: list[float] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        return len(self.asked) + len(self.behind)

    @property
    def is_over(self) -> bool:
        return not self.waiting and not self.running and self.next_arrival == len(self.arrivals)

    def receive(self, now: float) -> None:
        while self.next_arrival < len(self.arrivals) and self.arrivals[self.next_arrival].at <= now:
            at, is_asked = self.arrivals[self.next_arrival]
            (self.asked if is_asked else self.behind).append(at)
            self.next_arrival += 1

    def may_begin(self, now: float) -> bool:
        while self.stamps and self.stamps[0] <= now - self.upstream.window:
            self.stamps.popleft()
        return bool(self.waiting) and (not self.upstream.count or len(self.stamps) < self.upstream.count)

    def begin(self, now: float) -> float:
        """A job begins; when it ends."""
        end = now + self.upstream.seconds
        if self.asked:
            self.waits.append(end - self.asked.popleft())
        else:
            self.behind.popleft()
        if self.upstream.count:
            self.stamps.append(end)
        self.running += 1
        self.begun[int(now // 60)] += 1
        return end

    def load(self, now: float) -> QueueLoad:
        """What the fleet's status would say of it."""
        minute, admissible = int(now // 60), None
        if self.upstream.count:
            kept = sum(stamp > now + HORIZON_SECONDS - self.upstream.window for stamp in self.stamps)
            admissible = (self.upstream.count - kept) / HORIZON_SECONDS
        begun = self.begun[minute] + self.begun[minute - 1]
        return QueueLoad(
            waiting=self.waiting,
            runnable=0,
            running=self.running,
            oldest_seconds=None,
            begun_per_second=begun / (60 + now - 60 * minute),
            admissible_per_second=admissible,
            job_seconds=self.upstream.seconds,
        )


Wanted = Callable[[Sequence[Line], float], int]


def by_signal(lines: Sequence[Line], now: float) -> int:
    return scale_of([line.load(now) for line in lines], []).workers_wanted


def by_backlog(target: int) -> Wanted:
    return lambda lines, now: math.ceil(sum(line.waiting + line.running for line in lines) / target)


class Pods:
    """The pods of an autoscaler that goes by ``wanted``."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted, self._poll_at = wanted, 0.0
        self._asked = deque[tuple[float, int]]()
        self._starting = list[float]()
        self.ready = 0
        self.seconds = 0.0

    def step(self, lines: Sequence[Line], now: float, busy: int) -> int:
        """How many threads there are at ``now``, with so many that have a job."""
        if now >= self._poll_at:
            self._poll_at += POLL_SECONDS
            self._poll(min(MOST_PODS, self._wanted(lines, now)), now, busy)
        self.ready += sum(at <= now for at in self._starting)
        self._starting = [at for at in self._starting if at > now]
        self.seconds += (self.ready + len(self._starting)) * STEP
        return self.ready * THREADS

    def _poll(self, wanted: int, now: float, busy: int) -> None:
        self._asked.append((now, wanted))
        while self._asked[0][0] < now - CALM_SECONDS:
            self._asked.popleft()
        goal = max(one for _, one in self._asked)
        self._starting += [now + START_SECONDS] * max(0, goal - self.ready - len(self._starting))
        # Whoever is told to stop ends what is in hand.
        self.ready = min(self.ready, max(goal, math.ceil(busy / THREADS)))


class Run(NamedTuple):
    """A day: the pod-hours that it took, and how long those waited who asked, in order."""

    pod_hours: float
    waits: list[float]

    def wait(self, part: float) -> float:
        return self.waits[min(len(self.waits) - 1, int(part * len(self.waits)))]


def play(arrivals: Sequence[Sequence[Arrival]], wanted: Wanted) -> Run:
    lines = [Line(source, moments) for source, moments in zip(SOURCES, arrivals, strict=True)]
    pods, ends, tick = Pods(wanted), list[tuple[float, int]](), 0
    while not all(line.is_over for line in lines):
        now = tick * STEP
        for line in lines:
            line.receive(now)
        while ends and ends[0][0] <= now:
            lines[heapq.heappop(ends)[1]].running -= 1
        free = pods.step(lines, now, len(ends)) - len(ends)
        for number, line in enumerate(lines):
            while free > 0 and line.may_begin(now):
                heapq.heappush(ends, (line.begin(now), number))
                free -= 1
        tick += 1
    return Run(pods.seconds / 3600, sorted(wait for line in lines for wait in line.waits))


def day_of(hours: int, seed: int) -> list[list[Arrival]]:
    """The arrivals of each source in a day that begins at midnight."""
    chance, seconds = random.Random(seed), hours * 3600.0
    asked = [_reports(chance, hours) if not one.count else _asks(chance, one, seconds) for one in SOURCES]
    behind = [_behind(chance, one, hours) if one.count else iter(()) for one in SOURCES]
    return [
        sorted([Arrival(at, True) for at in some] + [Arrival(at, False) for at in others])
        for some, others in zip(asked, behind, strict=True)
    ]


def _asks(chance: random.Random, source: Upstream, seconds: float) -> Iterator[float]:
    at = 0.0
    while at < seconds:
        at += chance.expovariate(source.rate * _share(at / 3600))
        yield at


def _share(hour: float) -> float:
    """The part of the limit that is asked for, by the hour of the day."""
    if 9.4 <= hour < 9.8:
        return 0.8
    return 0.4 if 9.8 <= hour < 16.5 else 0.03


def _reports(chance: random.Random, hours: int) -> Iterator[float]:
    for hour in range(hours):
        many = 1200 if 9 <= hour < 17 else 60
        yield from (hour * 3600 + chance.uniform(0.0, 10.0) for _ in range(many))


def _behind(chance: random.Random, source: Upstream, hours: int) -> Iterator[float]:
    for minute in range(0, hours * 60, 5):
        # Pre-warms come together, and are spread by the limit.
        yield from (minute * 60 + chance.uniform(0.0, 2.0) for _ in range(round(20 * source.rate)))
    for hour in (9.5, 16.0):
        if hour < hours:
            # Somebody loads what takes an hour and a half by the limit.
            yield from (hour * 3600 + chance.uniform(0.0, 60.0) for _ in range(round(5400 * source.rate)))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    arrivals = day_of(options.hours, options.seed)
    print(f"{sum(map(len, arrivals))} jobs in {options.hours} hours")
    print(f"{'by':<16}{'pod-hours':>10}{'wait p50':>11}{'p95':>9}{'p99':>9}")

    def measure(name: str, wanted: Wanted) -> Run:
        run = play(arrivals, wanted)
        p50, p95, p99 = (run.wait(part) for part in (0.5, 0.95, 0.99))
        print(f"{name:<16}{run.pod_hours:>10.1f}{p50:>10.1f}s{p95:>8.1f}s{p99:>8.1f}s", flush=True)
        return run

    ours = measure("workers wanted", by_signal)
    theirs = [measure(f"backlog / {target}", by_backlog(target)) for target in TARGETS]
    equal = [run for run in theirs if run.wait(0.95) <= ours.wait(0.95) + STEP]
    ratio = ours.pod_hours / min((run.pod_hours for run in equal), default=math.inf)
    print(f"{ratio:.2f} of the pod-hours of the best backlog whose p95 is no longer (bar 0.5)")
    return 0 if ratio <= 0.5 else 1


if __name__ == "__main__":
    sys.exit(main())
