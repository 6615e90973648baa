"""Does the fleet keep the limit, and its pace, whatever becomes of the server?"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench import fleet
from bench.exactness import LIMIT
from bench.limiter import Tbcache
from bench.load import delay, most_in_any_window
from bench.table import Bar, Table
from tbcache.admission import Go
from tbcache.models import Limit
from tbcache.settings import Settings
from tests.proxy import Proxy
from tests.server import Server

THREADS = 4
#: The load comes in bursts, a window apart: when a damage begins decides what is lost by it.
PHASES = tuple(0.05 + part * LIMIT.window_seconds / 4 for part in range(4))
BEFORE_SECONDS, AFTER_SECONDS = 2 * LIMIT.window_seconds, 5.0
#: So many damages are done beside each other: each is a few dozen requests a second.
BESIDE = 3
KEY = "damage"
#: From when on the pace counts as full.
FULL = 0.90


@dataclass(frozen=True)
class Damage:
    """``hurt`` begins it, and what it gives ends it after ``seconds``; 0: it is over at once.

    ``is_lost``: the server forgets, its figures too. ``is_cut_off``: for one process of the fleet only.
    ``is_at_rest``: each process has asked once; all begin when the damage does.
    """

    hurt: Callable[[Server, Proxy], Callable[[], object]]
    seconds: float
    is_lost: bool = False
    is_cut_off: bool = False
    is_at_rest: bool = False


def _kill(server: Server, proxy: Proxy) -> Callable[[], object]:
    server.kill()
    return server.start


def _empty(server: Server, proxy: Proxy) -> Callable[[], object]:
    server.kill()
    return lambda: server.restart(empty=True)


def _flush(server: Server, proxy: Proxy) -> Callable[[], object]:
    server.flush()
    return lambda: None


def _freeze(server: Server, proxy: Proxy) -> Callable[[], object]:
    server.freeze()
    return server.thaw


def _refuse(server: Server, proxy: Proxy) -> Callable[[], object]:
    proxy.refuse()
    return proxy.mend


def _silence(server: Server, proxy: Proxy) -> Callable[[], object]:
    proxy.silence()
    return proxy.mend


DAMAGES: dict[str, Damage] = {
    "killed 3 s, comes back as it was": Damage(_kill, 3.0),
    "killed 3 s, comes back empty": Damage(_empty, 3.0, is_lost=True),
    "FLUSHALL": Damage(_flush, 0.0, is_lost=True),
    "frozen 4 s": Damage(_freeze, 4.0),
    "one of four cut off 4 s, refused": Damage(_refuse, 4.0, is_cut_off=True),
    "one of four cut off 4 s, absent": Damage(_silence, 4.0, is_cut_off=True),
    "from rest: one of four cut off 4 s, refused": Damage(_refuse, 4.0, is_cut_off=True, is_at_rest=True),
    "from rest: one of four cut off 4 s, absent": Damage(_silence, 4.0, is_cut_off=True, is_at_rest=True),
    "from rest: killed 3 s, comes back empty": Damage(_empty, 3.0, is_lost=True, is_at_rest=True),
}
QUICK = ["one of four cut off 4 s, refused"]


@dataclass(frozen=True)
class Part:
    """What one process did: when its requests arrived; the longest single call (seconds); from when to
    when it waited for each slot; the verdicts it got and the pages it settled; how often it raised."""

    arrivals: list[float]
    longest_call: float
    waits: list[tuple[float, float]]
    verdicts: Counter[str]
    pages: int
    errors: int


@dataclass(frozen=True)
class Seen:
    """``used`` of what was possible while it lasted, None where it was over at once; ``full_after``:
    seconds from its end until the pace was full again; ``longest_wait``: the longest for a slot (seconds),
    of what was waited after its end; ``off_by``: how far the figures in Redis are
    from what was done; ``zombies``: slots and leases that nobody holds."""

    most: int
    used: float | None
    full_after: float
    longest_call: float
    longest_wait: float
    off_by: dict[str, int] | None
    zombies: int
    errors: int


def work(
    process: int,
    start: float,
    urls: Sequence[str],
    seconds: float,
    threads: int,
    limit: Limit,
    quiet_seconds: float = 0.0,
) -> Part:
    """One process's part; its heart beats as a worker's does. In ``quiet_seconds`` it asks once."""
    one, end = Tbcache(urls[process], limit, KEY), start + seconds
    one.monitor.keep_beating("worker")
    arrivals: list[float] = []
    calls: list[float] = [0.0]
    waits: list[tuple[float, float]] = []
    verdicts: Counter[str] = Counter()
    errors: list[Exception] = []
    lock = threading.Lock()

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        async def run(*args: Any) -> Any:
            started = time.monotonic()
            found = await call(*args)
            with lock:
                calls.append(time.monotonic() - started)
                if call.__name__ == "admit":
                    verdicts[type(found).__name__.lower()] += 1
            return found

        return run

    one.admission.admit = timed(one.admission.admit)  # type: ignore[method-assign]
    one.admission.settle = timed(one.admission.settle)  # type: ignore[method-assign]

    def request(random_: random.Random) -> None:
        began = time.monotonic()
        try:
            if (done := one.acquire(end)) is None:
                return
            waits.append((began, time.monotonic()))
            time.sleep(delay(random_, "saturated"))
            arrivals.append(time.monotonic())
            time.sleep(delay(random_, "saturated"))
            done()
        except Exception as error:
            errors.append(error)

    def loop(thread: int) -> None:
        random_ = random.Random(f"{process} {thread}")
        while time.monotonic() < end:
            request(random_)

    if quiet_seconds:
        fleet.in_threads(start, 1, lambda thread: request(random.Random(process)))
    fleet.in_threads(start + quiet_seconds, threads, loop)
    one.monitor.leave()
    one.monitor.flush()
    one.store.close()
    return Part(arrivals, max(calls), waits, verdicts, len(arrivals), len(errors))


def run(damage: Damage, workers: fleet.Fleet, threads: int = THREADS, phase: float = PHASES[0]) -> Seen:
    """One damage, in the middle of a saturated load."""
    workers.prepare(work)
    before = BEFORE_SECONDS + phase
    server, seconds = Server(append_only=True).start(), before + damage.seconds + AFTER_SECONDS
    with _running(server) as proxy, ThreadPoolExecutor(1) as beside:
        urls = [proxy.url if damage.is_cut_off else server.url, *[server.url] * (workers.size - 1)]
        quiet = before if damage.is_at_rest else 0.0
        results = beside.submit(workers.run, work, urls, seconds, threads, LIMIT, quiet)
        time.sleep(fleet.LEAD_SECONDS + before)
        began = time.monotonic()
        end_it = damage.hurt(server, proxy)
        time.sleep(damage.seconds)
        end_it()
        ended = time.monotonic()
        return _seen(damage, server, results.result(), began, ended)


@contextmanager
def _running(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port).start()
    try:
        yield proxy
    finally:
        proxy.close()
        server.close()


def _seen(damage: Damage, server: Server, parts: list[Part], began: float, ended: float) -> Seen:
    arrivals = sorted(at for part in parts for at in part.arrivals)
    return Seen(
        most=most_in_any_window(arrivals, LIMIT.window_seconds),
        used=used_between(arrivals, began, ended) if damage.seconds else None,
        full_after=full_after(arrivals, ended),
        longest_call=max(part.longest_call for part in parts),
        longest_wait=longest_wait([wait for part in parts for wait in part.waits], ended),
        off_by=None if damage.is_lost else off_by(server, parts),
        zombies=zombies(server),
        errors=sum(part.errors for part in parts),
    )


def used_between(arrivals: Sequence[float], began: float, ended: float) -> float:
    """What arrived between ``began`` and ``ended``, over what the limit allows in so much time."""
    possible = LIMIT.count / LIMIT.window_seconds * (ended - began)
    return sum(began <= at < ended for at in arrivals) / possible


def longest_wait(waits: Sequence[tuple[float, float]], ended: float) -> float:
    """The longest, in seconds, of what was waited after ``ended``."""
    return max((until - max(since, ended) for since, until in waits if until > ended), default=0.0)


def full_after(arrivals: Sequence[float], ended: float) -> float:
    """Seconds from ``ended`` to the beginning of the first window that is as good as full."""
    for first in [ended, *(at for at in arrivals if at > ended)]:
        inside = sum(first <= at < first + LIMIT.window_seconds for at in arrivals)
        if inside >= FULL * LIMIT.count:
            return first - ended
    return float("inf")


def off_by(server: Server, parts: list[Part]) -> dict[str, int]:
    """How many fetches and pages the figures in Redis have too many or, negative, too few."""
    figures: Counter[str] = Counter()
    for name in server.client.scan_iter(match=f"*{{{KEY}}}:usage:*"):
        for field, value in server.client.hgetall(name).items():
            figures[field.decode().partition(":")[2]] += int(value)
    made = Counter({"pages": sum(part.pages for part in parts)})
    made["go"] = sum(part.verdicts[Go.__name__.lower()] for part in parts)
    return {name: figures[name] - made[name] for name in made}


def zombies(server: Server) -> int:
    """Slots and leases still held although everybody has ended."""
    seconds, micros = server.client.time()
    now = seconds * 1_000_000 + micros
    held = int(server.client.zcount(f"trading_bot:{{{KEY}}}:slots", f"({now}", "+inf"))
    leases = 0
    for name in server.client.scan_iter(match=f"trading_bot:lease:{{{KEY}}}:*", count=1000):
        leases += int(server.client.hget(name, "until") or 0) > now
    return held + leases


def worst(seen: Sequence[Seen]) -> Seen:
    """The worst of several phases; of what was used, the mean."""
    used = [one.used for one in seen if one.used is not None]
    off = [one.off_by for one in seen if one.off_by is not None]
    return Seen(
        most=max(one.most for one in seen),
        used=statistics.mean(used) if used else None,
        full_after=max(one.full_after for one in seen),
        longest_call=max(one.longest_call for one in seen),
        longest_wait=max(one.longest_wait for one in seen),
        off_by=max(off, key=lambda by: sum(map(abs, by.values()))) if off else None,
        zombies=max(one.zombies for one in seen),
        errors=sum(one.errors for one in seen),
    )


def table(*, is_quick: bool) -> Table:
    """The table, in about 125 seconds; in 14 when ``is_quick``."""
    return measure(QUICK, PHASES[:1]) if is_quick else measure([*DAMAGES], PHASES)


def measure(names: Sequence[str], phases: Sequence[float], processes: int = 4) -> Table:
    """Each damage at each phase of the load's bursts."""
    found = Table(
        "The limit while the server is away",
        f"{processes} processes x {THREADS} threads as fast as they may at 50 per 2 s, 5-50 ms each way, "
        f"from {BEFORE_SECONDS:g} s before to {AFTER_SECONDS:g} s after, a run for each of {len(phases)} "
        "phases of the bursts in which they come: the worst of them, and of what was used the mean. From "
        "rest: all begin when the damage does, having asked once each before; one run. Most: "
        "arrivals in any window, the whole time. used: what arrived while it lasted, over what the limit "
        "allows in so much time. Full after: from its end to the beginning of a window that is "
        f"{FULL:.0%} full. Calls: the longest. Waits for a slot: the longest, from its end on. Figures: by "
        "how many fetches (go) and pages those in Redis are off. Zombies: slots and leases left held when "
        "all had ended.",
        ["server", "errors", "most", "used", "full after", "call", "wait", "figures off by", "zombies"],
    )
    # At rest there are no bursts, and so no phases.
    cases = [(name, at) for name in names for at in (phases[:1] if DAMAGES[name].is_at_rest else phases)]
    with ThreadPoolExecutor(BESIDE) as beside:
        runs = list(beside.map(lambda case: _run(*case, processes), cases))
    for name in names:
        seen = worst([run for (of, _), run in zip(cases, runs, strict=True) if of == name])
        found.rows.append(row(name, seen))
        found.bars += bars(name, seen)
    return found


def _run(name: str, phase: float, processes: int) -> Seen:
    with fleet.start(processes) as workers:
        return run(DAMAGES[name], workers, phase=phase)


def row(name: str, seen: Seen) -> list[str]:
    return [
        name,
        str(seen.errors),
        str(seen.most),
        "-" if seen.used is None else f"{seen.used:.2f}",
        f"{seen.full_after:.2f} s",
        f"{seen.longest_call * 1000:.0f} ms",
        f"{seen.longest_wait:.2f} s",
        _figures(seen.off_by),
        str(seen.zombies),
    ]


def bars(name: str, seen: Seen) -> list[Bar]:
    timeout = Settings.redis_timeout + 0.1
    most_wait = LIMIT.window_seconds + 0.5
    found = [
        Bar(f"{name}: never more than 50 in a window", str(seen.most), seen.most <= LIMIT.count),
        Bar(
            f"{name}: full rate within a window + 0.5 s",
            f"{seen.full_after:.2f} s",
            seen.full_after <= most_wait,
        ),
        Bar(
            f"{name}: longest call the timeout + 100 ms, none raises",
            f"{seen.longest_call * 1000:.0f} ms, {seen.errors} raised",
            seen.longest_call <= timeout and not seen.errors,
        ),
    ]
    if name.startswith("frozen"):
        found.append(Bar(f"{name}: no zombie slot or lease", str(seen.zombies), seen.zombies == 0))
    if seen.used is not None:
        found.append(Bar(f"{name}: 70% used meanwhile", f"{seen.used:.0%}", seen.used >= 0.70))
    if seen.off_by is None:
        found.append(
            Bar(
                f"{name}: no wait for a slot beyond a window + 0.5 s",
                f"{seen.longest_wait:.2f} s",
                seen.longest_wait <= most_wait,
            )
        )
    else:
        is_exact = not any(seen.off_by.values())
        found.append(Bar(f"{name}: usage arrives exactly once", f"off by {_figures(seen.off_by)}", is_exact))
    return found


def _figures(off: dict[str, int] | None) -> str:
    if off is None:
        return "-"
    return ", ".join(f"{by:+d} {name}" for name, by in off.items() if by) or "0"
