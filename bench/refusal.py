"""The upstream says stop, and until when."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench import fleet
from bench.exactness import LIMIT
from bench.limiter import LIMITERS, Tbcache
from bench.load import delay
from bench.table import Bar, Table
from bench.upstream import Line, running
from tests.server import Server

THREADS = 4
#: For how long it answers, refuses everything, answers again.
SPANS = (1.0, 3.0, 2.0)
KINDS = ("throttled", "quota")
#: For how long the word of a refusal may be on its way: the longest that a request is, one way.
NOTICE_SECONDS = 0.05
PEERS = ["pyrate-limiter"]


@dataclass(frozen=True)
class Sent:
    """One request: when it was sent; when its refusal was on record, None for one that was accepted."""

    at: float
    refused_at: float | None


@dataclass(frozen=True)
class Seen:
    """Requests refused, and those of them that were sent although the first refusal was known.

    ``crossed``: sent so soon after it that the word, from the process that was refused to the one that sent,
    was on its way; ``more``: later. ``back``: seconds from the end to the next request.
    """

    refused: int
    crossed: int
    more: int
    back: float


def work(
    process: int,
    start: float,
    name: str,
    url: str,
    address: tuple[str, int],
    key: str,
    seconds: float,
    threads: int,
) -> list[Sent]:
    """One process's requests."""
    limiter, end = LIMITERS[name](url, LIMIT, key), start + seconds
    if isinstance(limiter, Tbcache):
        limiter.monitor.keep_beating("worker")
    sent: list[Sent] = []

    def loop(thread: int) -> None:
        random_ = random.Random(f"{process} {thread}")
        line = Line(address, tells_figures=False)
        while time.monotonic() < end:
            if (done := limiter.acquire(end)) is None:
                continue
            at = time.monotonic()
            time.sleep(delay(random_, "saturated"))
            answer = line.send()
            time.sleep(delay(random_, "saturated"))
            done(answer)
            sent.append(Sent(at, time.monotonic() if answer.refusal else None))
        line.close()

    fleet.in_threads(start, threads, loop)
    if isinstance(limiter, Tbcache):
        limiter.monitor.leave()
    return sent


def run(
    workers: fleet.Fleet,
    name: str,
    kind: str,
    url: str,
    spans: tuple[float, float, float] = SPANS,
    threads: int = THREADS,
) -> Seen:
    """One limiter, and one way to say stop."""
    before, shut, _ = spans
    key = f"stop{kind}{name}".replace(" ", "").replace("-", "").lower()
    workers.prepare(work)
    with running(LIMIT) as upstream, ThreadPoolExecutor(1) as beside:
        results = beside.submit(workers.run, work, name, url, upstream.address, key, sum(spans), threads)
        time.sleep(fleet.LEAD_SECONDS + before)
        upstream.shut(shut, kind)
        end = time.monotonic() + shut
        sent = [one for part in results.result() for one in part]
    return judge(sent, end)


def judge(sent: Sequence[Sent], end: float) -> Seen:
    """What was sent around an upstream's refusals, which ended at ``end``."""
    refused = [one.refused_at for one in sent if one.refused_at is not None]
    known = min(refused, default=end)
    later = [one.at - known for one in sent if known < one.at < end]
    crossed = sum(seconds <= NOTICE_SECONDS for seconds in later)
    back = min((one.at for one in sent if one.at >= end), default=float("inf")) - end
    return Seen(len(refused), crossed, len(later) - crossed, back)


def table(*, is_quick: bool) -> Table:
    """The table, in about 20 seconds; in 7 when ``is_quick``."""
    with fleet.start() as workers:
        if is_quick:
            return measure(workers, [("tbcache", "quota")])
        ours, peers = [("tbcache", kind) for kind in KINDS], [(name, "throttled") for name in PEERS]
        return measure(workers, [*ours, *peers])


def measure(workers: fleet.Fleet, cases: Sequence[tuple[str, str]]) -> Table:
    """Each case."""
    found = Table(
        "The upstream says stop",
        f"{workers.size} processes x {THREADS} threads as fast as they may at 50 per 2 s, 5-50 ms each way, "
        f"when the upstream begins to refuse everything for {SPANS[1]:g} s and says until when (whole "
        f"seconds, rounded up). Crossed: sent within {NOTICE_SECONDS * 1000:.0f} ms of the first refusal on "
        "record, while the word of it was on its way to the other processes. More: sent later than that, "
        "before the moment that was said.",
        ["limiter", "says", "refused", "crossed", "more", "back after"],
    )
    server = Server().start()
    try:
        for name, kind in cases:
            seen = run(workers, name, kind, server.url)
            counts = (seen.refused, seen.crossed, seen.more)
            found.rows.append([name, kind, *map(str, counts), f"{seen.back:.2f} s"])
            if name == "tbcache":
                found.bars.append(bar(kind, seen))
    finally:
        server.close()
    return found


def bar(kind: str, seen: Seen) -> Bar:
    asked = f"{kind}: the whole fleet stops as soon as it is told, 0 more requests"
    return Bar(asked, f"{seen.more} of {seen.refused}", bool(seen.refused) and seen.more == 0)
