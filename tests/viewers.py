"""Many who look at one API: what each sees, how late, and what it costs.

    python -m tests.viewers --viewers 1000 --seconds 30

Prints what was measured, and exits 1 where a promise is broken: as many calls of Redis for all as for one,
and a change seen by all within 1.2 s in the median round.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tbcache.api.bound import allow_files
from tbcache.settings import Settings
from tbcache.store import Store
from tests.kept import keep
from tests.server import Server, wait_until

ON = {
    "TBCACHE_REDDIT__CLIENT_ID": "id",
    "TBCACHE_REDDIT__CLIENT_SECRET": "secret",
    "TBCACHE_NEWS__API_KEY": "key",
}
SYMBOLS = ("AAPL", "MSFT", "NVDA", "TSLA", "AMZN", "GOOGL", "META", "GME", "AMC", "SPY")
#: How often something changes.
ROUND_SECONDS = 3.0
WITHIN_SECONDS = 1.2


@dataclass(slots=True)
class Viewer:
    """One who looks: how many messages came, how many bytes, and when each change was seen."""

    messages: int = 0
    size: int = 0
    seen: dict[int, float] = field(default_factory=dict)

    async def look(self, port: int, stop: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
        writer.write(b"GET /live/home HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        ended = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                coming = asyncio.ensure_future(reader.read(2**18))
                await asyncio.wait((coming, ended), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    break
                data = coming.result()
                assert data, "the API has closed a page that is watched"
                self._note(data)
        finally:
            ended.cancel()
            writer.close()

    def _note(self, data: bytes) -> None:
        self.size += len(data)
        self.messages += data.count(b'hx-target="#head"')
        for found in re.finditer(rb"round (\d+) of the measure", data):
            self.seen.setdefault(int(found[1]), time.monotonic())


@contextmanager
def api(server: Server) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tbcache", "api", "--port", "0"],
        env={**os.environ, **server.variables, **ON},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = None
        while found is None:
            line = process.stdout.readline()
            assert line, "the API did not start"
            found = re.search(r"url=\S+:(\d+)", line)
        yield process, int(found[1])
    finally:
        process.terminate()
        process.wait()


def close_source(store: Store, number: int) -> None:
    """Something that all who look must see."""
    until = int((time.time() + 600) * 1e6)
    reason = f"round {number} of the measure"
    store.client.hset(store.keys.state("reddit"), mapping={"closed_until": until, "closed_reason": reason})
    store.client.expire(store.keys.state("reddit"), 600)


def calls(store: Store) -> int:
    """How many commands the server has run."""
    return int(store.client.info("stats")["total_commands_processed"])


def memory(process: subprocess.Popen[str]) -> float:
    """The megabytes of a process."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def fetch(port: int, path: str) -> tuple[int, float]:
    """The status of a request beside, and how long it took."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read(2**16)
    writer.close()
    return int(answer.split()[1]), time.monotonic() - begun


class Measured(NamedTuple):
    """What came of it; seconds, but where it is said otherwise."""

    calls_per_second: float
    slowest_rate: float
    quickest_rate: float
    half_late: float
    all_late: float
    worst_late: float
    worst_beside: float
    bytes_per_second: float

    @property
    def lines(self) -> Iterator[str]:
        yield f"to each {self.slowest_rate:.2f} to {self.quickest_rate:.2f} messages a second"
        yield f"of {self.bytes_per_second / 1e3:.1f} KB a second together"
        yield f"a change seen by half of all after {self.half_late:.2f} s (median round)"
        yield f"by all after {self.all_late:.2f} s (median round), {self.worst_late:.2f} s (worst)"
        yield f"GET /healthz beside: {self.worst_beside:.3f} s at worst"


async def measure(port: int, store: Store, count: int, seconds: float) -> Measured:
    """Have so many look while a source is closed for another reason every few seconds."""
    stop, viewers = asyncio.Event(), [Viewer() for _ in range(count)]
    tasks = list[asyncio.Task[None]]()
    for at in range(0, count, 50):
        many = viewers[at : at + 50]
        tasks += [asyncio.create_task(viewer.look(port, stop)) for viewer in many]
        # Those that come faster than they are served are refused, as one client has so many connections.
        while any(not viewer.messages for viewer in many):
            await asyncio.sleep(0.02)
            ended = next((task for task in tasks if task.done()), None)
            if ended is not None:
                ended.result()
    begun, before, first = time.monotonic(), calls(store), [viewer.messages for viewer in viewers]
    changed, beside = dict[int, float](), list[float]()
    while time.monotonic() - begun < seconds:
        number = len(changed) + 1
        changed[number] = time.monotonic()
        close_source(store, number)
        # Not in step with the looks.
        await asyncio.sleep(ROUND_SECONDS + 0.37 * (number % 3))
        status, took = await fetch(port, "/healthz")
        assert status == 200, status
        beside.append(took)
    took, after = time.monotonic() - begun, calls(store)
    stop.set()
    await asyncio.gather(*tasks)
    late = [sorted(viewer.seen.get(one, math.inf) - at for viewer in viewers) for one, at in changed.items()]
    rates = [(viewer.messages - was) / took for viewer, was in zip(viewers, first, strict=True)]
    return Measured(
        calls_per_second=(after - before) / took,
        slowest_rate=min(rates),
        quickest_rate=max(rates),
        half_late=statistics.median(one[len(one) // 2] for one in late),
        all_late=statistics.median(one[-1] for one in late),
        worst_late=max(one[-1] for one in late),
        worst_beside=max(beside),
        bytes_per_second=sum(viewer.size for viewer in viewers) / took / count,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    asked = parser.parse_args()
    allow_files()
    server = Server(always_answers=True).start()
    try:
        store = Store(Settings.load({**server.variables, **ON}))
        for symbol in SYMBOLS:
            keep(store, symbol, 24, fresh=3600)
        with api(server) as (process, port):
            wait_until(lambda: asyncio.run(fetch(port, "/healthz"))[0] == 200, 30, "the API")
            alone, small = asyncio.run(measure(port, store, 1, 6.0)), memory(process)
            all_, large = asyncio.run(measure(port, store, asked.viewers, asked.seconds)), memory(process)
        store.close()
    finally:
        server.close()
    print(f"{asked.viewers} viewers for {asked.seconds:g} s, load of the machine {os.getloadavg()[0]:.1f}:")
    print(*all_.lines, sep="\n")
    calls_of = f"{alone.calls_per_second:.0f} with one, {all_.calls_per_second:.0f} with all"
    print(f"calls of Redis a second: {calls_of}")
    print(f"memory of the API: {small:.0f} MB with one, {large:.0f} MB with all")
    return int(all_.all_late > WITHIN_SECONDS or all_.calls_per_second > 1.5 * alone.calls_per_second)


if __name__ == "__main__":
    sys.exit(main())
