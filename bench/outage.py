"""The server is killed, or frozen, and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench import cache
from bench.table import Bar, Table
from tbcache.limiter import limiter_of
from tbcache.settings import Settings
from tests.server import Server, wait_until

CALLERS = 4
KEYS = 4
TTL = 1.0
LOAD_SECONDS = 0.05
PAUSE_SECONDS = 0.005
BEFORE_SECONDS, AFTER_SECONDS = 1.0, 2.0
KILLED_SECONDS, FROZEN_SECONDS = 3.0, 4.0

CACHES: dict[str, Callable[[str, float], Any]] = {
    "tbcache fetch": cache.TbcacheFetch,
    "naive GET, SET": cache.Naive,
    "django-redis get_or_set": cache.Django,
    "dogpile.cache": cache.Dogpile,
}


@dataclass
class Seen:
    """What the callers met; ``longest`` in seconds. ``back`` is how long after the server's return
    (seconds) a caller of tbcache used it again."""

    calls: int = 0
    errors: int = 0
    loads: int = 0
    longest: float = 0.0
    back: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def run(name: str, server: Server, *, is_frozen: bool, away_seconds: float) -> Seen:
    """Callers who ask all the time while the server goes away and returns."""
    one, seen, stop = CACHES[name](server.url, TTL), Seen(), threading.Event()

    def loader() -> Any:
        with seen.lock:
            seen.loads += 1
        return cache.sleep_and_load(LOAD_SECONDS)

    def call(caller: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            started = time.monotonic()
            try:
                one.load(f"K{(caller + number) % KEYS}", loader)
            except Exception:
                with seen.lock:
                    seen.errors += 1
            took = time.monotonic() - started
            with seen.lock:
                seen.calls, seen.longest = seen.calls + 1, max(seen.longest, took)
            time.sleep(PAUSE_SECONDS)

    threads = [threading.Thread(target=call, args=(caller,), daemon=True) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    time.sleep(BEFORE_SECONDS)
    _take_away(server, is_frozen, away_seconds)
    returned = time.monotonic()
    if isinstance(one, cache.TbcacheFetch):
        while not one.parts.store.is_available and time.monotonic() < returned + AFTER_SECONDS:
            time.sleep(0.005)
        seen.back = time.monotonic() - returned
    time.sleep(max(0.0, returned + AFTER_SECONDS - time.monotonic()))
    stop.set()
    for thread in threads:
        thread.join(timeout=10)
    if isinstance(one, cache.TbcacheFetch):
        one.parts.close()
    return seen


def served_twice(server: Server) -> bool:
    """Whether a value of one outage is served in the next, within its TTL."""
    one = cache.TbcacheFetch(server.url, TTL * 10)
    one.load("K", lambda: None)
    server.kill()
    first = one.load("L", lambda: None)
    server.start()
    wait_until(lambda: one.parts.store.is_available)
    # It came back empty: for half a second nobody is given a part of the limit.
    wait_until(lambda: limiter_of(one.parts.store).process_window(one.parts.provider.source.name).report()[0])
    server.kill()
    second = one.load("L", lambda: None)
    one.parts.close()
    return bool(first.as_of == second.as_of)


def _take_away(server: Server, is_frozen: bool, seconds: float) -> None:
    if is_frozen:
        with server.frozen():
            time.sleep(seconds)
    else:
        server.kill()
        time.sleep(seconds)
        server.start()


def table(*, is_quick: bool) -> Table:
    """The table, in about 60 seconds; in 10 when ``is_quick``."""
    if is_quick:
        return measure(["tbcache fetch"], 1.0, 1.0)
    return measure([*CACHES], KILLED_SECONDS, FROZEN_SECONDS)


def measure(names: list[str], killed_seconds: float, frozen_seconds: float) -> Table:
    """Each cache through both."""
    found = Table(
        "The server goes away",
        f"{CALLERS} callers ask for {KEYS} keys with a TTL of {TTL:g} s and a load of 50 ms, from 1 s before "
        f"to 2 s after. Killed: SIGKILL for {killed_seconds:g} s, then started empty. Frozen: SIGSTOP for "
        f"{frozen_seconds:g} s. Cells: killed / frozen. The longest call in loads.",
        ["cache", "errors", "longest call", "loads", "calls"],
    )
    for name in names:
        seen = []
        for is_frozen, seconds in ((False, killed_seconds), (True, frozen_seconds)):
            server = Server().start()
            try:
                seen.append(run(name, server, is_frozen=is_frozen, away_seconds=seconds))
            finally:
                server.close()
        found.rows.append(row(name, *seen))
        if name == "tbcache fetch":
            found.bars = bars(*seen)
            found.bars.append(_twice_bar())
    return found


def _twice_bar() -> Bar:
    server = Server().start()
    try:
        is_served = served_twice(server)
    finally:
        server.close()
    asked = "two outages within one TTL: no value of the first is served in the second"
    return Bar(asked, "one is" if is_served else "none is", not is_served)


def row(name: str, killed: Seen, frozen: Seen) -> list[str]:
    return [
        name,
        f"{killed.errors} / {frozen.errors}",
        f"{killed.longest / LOAD_SECONDS:.1f} / {frozen.longest / LOAD_SECONDS:.1f}",
        f"{killed.loads} / {frozen.loads}",
        f"{killed.calls} / {frozen.calls}",
    ]


def bars(killed: Seen, frozen: Seen) -> list[Bar]:
    timeout = Settings.redis_timeout
    most, longer = LOAD_SECONDS + timeout, LOAD_SECONDS + timeout + 0.1
    back = killed.back if killed.back is not None else AFTER_SECONDS
    return [
        Bar("killed: no exception", str(killed.errors), killed.errors == 0),
        Bar(
            "killed: longest call one load + the timeout",
            f"{killed.longest / most:.2f} of it",
            killed.longest <= most,
        ),
        Bar("killed: in use again 0.5 s after its return", f"{back:.2f} s", back <= 0.5),
        Bar("frozen: no exception", str(frozen.errors), frozen.errors == 0),
        Bar(
            "frozen: longest call one load + the timeout + 100 ms",
            f"{frozen.longest / longer:.2f} of it",
            frozen.longest <= longer,
        ),
    ]
