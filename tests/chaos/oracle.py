"""What must be true of a run, looked at from outside."""

from __future__ import annotations

import re
import signal
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from tbcache.models import Limit
from tbcache.queue.script import PARTS
from tbcache.repository.spill import Spill
from tbcache.store.key import Keys
from tests.chaos.fleet import LIMITS, Fleet, Member
from tests.chaos.record import read

KEYS = Keys("trading_bot")
TRACK_SECONDS = 10.0
DRAIN_SECONDS = 60.0
#: Parts of a queue that must be empty when all is done; the dead stay, the bell rings, the rate is told.
WORKING_PARTS = tuple(part for part in PARTS if part not in ("dead", "dead-jobs", "bell", "pace"))

RAW = re.compile(
    r"Traceback \(most recent call last\)|redis\.exceptions|Exception in thread|never retrieved"
    r"|^\s*[A-Za-z_.]*(Error|Exception|Interrupt)\b: |Fatal Python error|\[error|\[critical"
)
#: Where an error was raised, in our code.
FRAME = re.compile(r'File ".*/((?:tbcache|workers|scheduler|tests)/[^"]*)", line (\d+), in (\S+)')

#: What each call says it raises; everything else is a break.
DOCUMENTED: dict[str, frozenset[str]] = {
    "fetch": frozenset({"RateLimited", "AnswerPending", "BudgetExhausted", "Upstream*"}),
    "own": frozenset({"RateLimited"}),
    "queue": frozenset({"RedisUnreachable", "Unavailable"}),
    "ended": frozenset(
        {
            "ResultTimeout",
            "RedisUnreachable",
            "Unavailable",
            "RateLimited",
            "AnswerPending",
            "BudgetExhausted",
            "Upstream*",
        }
    ),
    "ask": frozenset(),
}
#: Threads that end when they have nothing to do.
PASSING = re.compile(
    r":tbcache-(probe|outbox|usage|refresh\S*|sweep|writer|local|prune|waiter)$|AnyIO|ThreadPoolExecutor|asyncio"
)
#: For how long threads are waited for that others of their role have.
THREADS_SECONDS = 30.0


class Tracker:
    """Looks after the jobs that were accepted while the run goes on: results are kept for a while only."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._client = redis.Redis.from_url(fleet.server.url, socket_timeout=5, protocol=2)
        self._offsets: dict[Path, int] = {}
        self.open: dict[str, dict[str, Any]] = {}
        self.accepted: set[str] = set()
        self.ended: Counter[str] = Counter()

    @contextmanager
    def watching(self) -> Iterator[Tracker]:
        stopped = threading.Event()

        def watch() -> None:
            while not stopped.wait(TRACK_SECONDS):
                self.look()

        thread = threading.Thread(target=watch, name="chaos-track")
        thread.start()
        try:
            yield self
        finally:
            stopped.set()
            thread.join()
            self._client.close()

    def look(self) -> None:
        """Read what the bots have written, and see which of the open jobs are over."""
        for event in self._events():
            if event["do"] == "accepted" and event["job"] not in self.accepted:
                self.accepted.add(event["job"])
                self.open[event["job"]] = event
            elif event["do"] == "ended" and event.get("error", "").rpartition(".")[2] not in _NO_END:
                self._close(event["job"], "told")
        try:
            self._ask_server()
        except (redis.RedisError, OSError):
            return

    def _ask_server(self) -> None:
        jobs = list(self.open.items())
        pipe: Any = self._client.pipeline(transaction=False)
        for job, event in jobs:
            pipe.exists(KEYS.result(event["source"], job))
            pipe.zscore(KEYS.queue(event["source"], "dead"), job)
        answers = pipe.execute()
        for (job, _), has_result, died_at in zip(jobs, answers[::2], answers[1::2], strict=True):
            if has_result:
                self._close(job, "result")
            elif died_at is not None:
                self._close(job, "dead")

    def _close(self, job: str, how: str) -> None:
        if self.open.pop(job, None) is not None:
            self.ended[how] += 1

    def _events(self) -> Iterator[dict[str, Any]]:
        for path in sorted((self._fleet.folder / "bots").iterdir()):
            seen = self._offsets.get(path, 0)
            events = list(read(path))
            self._offsets[path] = len(events)
            yield from events[seen:]


_NO_END = {"ResultTimeout", "RedisUnreachable", "Unavailable"}


def run_dry(fleet: Fleet, tracker: Tracker, say: Callable[[str], None]) -> None:
    """Leave the fleet in peace for a while, end what brings new work, and see that nothing stays behind."""
    fleet.await_all(60.0)
    time.sleep(fleet.shape.calm)
    _check_threads(fleet)
    for member in fleet.members.values():
        if member.role.module not in ("workers", "tbcache"):
            fleet.stop_member(member)
    say(f"drained in {_drain(fleet):.1f} s")
    tracker.look()
    _check_jobs(fleet, tracker, say)
    _check_ttls(fleet)


def examine(fleet: Fleet, say: Callable[[str], None]) -> None:
    """Check what the run has left in files, once everyone has stopped."""
    _check_windows(fleet, say)
    _check_bots(fleet, say)
    _check_database(fleet, say)
    _check_logs(fleet, say)


def _check_threads(fleet: Fleet) -> None:
    """A process that was through everything has the threads that any of its role has; one that has just been
    started on a busy machine has them soon."""
    deadline = time.monotonic() + THREADS_SECONDS
    while (lacking := list(_lacking(fleet))) and time.monotonic() < deadline:
        time.sleep(0.1)
    for line in lacking:
        fleet.broken(line)


def _lacking(fleet: Fleet) -> Iterator[str]:
    """A line for each process that lacks threads."""
    by_module: dict[str, list[Member]] = defaultdict(list)
    for member in fleet.members.values():
        by_module[member.role.module].append(member)
    for members in by_module.values():
        counts = {member.life: Counter(_lasting(member.threads())) for member in members}
        every: Counter[str] = Counter()
        for count in counts.values():
            every |= count
        for life, count in counts.items():
            if missing := every - count:
                yield f"{life} lacks threads that others of its role have: {sorted(missing)}"


def _lasting(names: Iterable[str]) -> list[str]:
    return [name for name in names if not PASSING.search(name)]


def _left(fleet: Fleet) -> list[str]:
    """What of the queues, the leases and the held slots is still there."""
    client, left = fleet.server.client, []
    seconds, micros = client.time()
    now_us = seconds * 10**6 + micros
    for source in LIMITS:
        for part in WORKING_PARTS:
            if held := _content(client, KEYS.queue(source, part)):
                left.append(f"{source}:{part}={held[:4]}")
        held_slots = client.zrangebyscore(KEYS.slots(source), f"({now_us}", "+inf")
        if held_slots:
            left.append(f"{source}: held slots {held_slots[:4]}")
    for key in client.scan_iter(match=f"{KEYS.namespace}:lease:*", count=1000):
        if client.type(key) == b"hash" and int(client.hget(key, "until") or 0) > now_us:
            left.append(f"lease {key!r} {client.hgetall(key)}")
    for source in LIMITS:
        if waiting := client.xlen(KEYS.outbox(source)):
            left.append(f"{source}: {waiting} answers in the outbox")
    return left


def _content(client: redis.Redis, key: str) -> list[Any]:
    match client.type(key):
        case b"list":
            return client.lrange(key, 0, 10)
        case b"zset":
            return client.zrange(key, 0, 10, withscores=True)
        case b"hash":
            return list(client.hgetall(key).items())
        case _:
            return []


def _drain(fleet: Fleet) -> float:
    began = time.monotonic()
    while left := _left(fleet):
        if time.monotonic() - began > DRAIN_SECONDS:
            for member in fleet.members.values():
                member.send(signal.SIGUSR1)
            fleet.broken(f"not dry after {DRAIN_SECONDS:g} s: {'; '.join(left)}")
            break
        time.sleep(0.5)
    return time.monotonic() - began


def _check_jobs(fleet: Fleet, tracker: Tracker, say: Callable[[str], None]) -> None:
    say(f"jobs accepted {len(tracker.accepted)}, ended {dict(tracker.ended)}")
    if fleet.shape.loses:
        return
    for job, event in list(tracker.open.items())[:20]:
        fleet.broken(f"job {job} is lost: {event}")
    dead_letters = sum(fleet.server.client.zcard(KEYS.queue(source, "dead")) for source in LIMITS)
    say(f"dead_letters {dead_letters}")


def _check_ttls(fleet: Fleet) -> None:
    if left := fleet.server.keys_without_ttl():
        fleet.broken(f"keys without a TTL: {left}")


def _check_windows(fleet: Fleet, say: Callable[[str], None]) -> None:
    """Count arrivals in every window that ends with one."""
    arrivals: dict[str, list[tuple[float, str]]] = defaultdict(list)
    lags, jumps = [], []
    for event in read(fleet.folder / "arrivals"):
        if "lag" in event:
            lags.append(event["lag"])
        elif "jump" in event:
            jumps.append(event["jump"])
        else:
            arrivals[event["source"]].append((event["at"], event["agent"]))
    say(f"{'source':12}{'limit':>10}{'arrivals':>10}{'most':>6}{'used':>7}")
    for source, text in LIMITS.items():
        for limit in Limit.parse_all(text):
            most, where = _fullest(arrivals[source], limit.window_seconds)
            used = _used(arrivals[source], limit)
            say(f"{source:12}{limit!s:>10}{len(arrivals[source]):10}{most:6}{used:7.2f}")
            if most > limit.count:
                who = Counter(agent for _, agent in where)
                first, last = where[0][0], where[-1][0]
                fleet.broken(
                    f"{source}: {most} arrivals within {last - first:.4f} s, the limit is {limit}; "
                    f"from {first:.3f} to {last:.3f}: {dict(who)}"
                )
    if lags:
        say(f"the upstream was late {len(lags)} times, at most {max(lags):.2f} s")
    if jumps:
        say(f"the machine's clock was set {len(jumps)} times: {jumps[:5]}")


def _fullest(arrivals: list[tuple[float, str]], window: float) -> tuple[int, list[tuple[float, str]]]:
    """The most arrivals that lie less than ``window`` apart, and which they are."""
    first, best = 0, (0, 0)
    for last, (at, _) in enumerate(arrivals):
        while at - arrivals[first][0] >= window:
            first += 1
        if last - first + 1 > best[1] - best[0]:
            best = first, last + 1
    return best[1] - best[0], arrivals[best[0] : best[1]]


def _used(arrivals: list[tuple[float, str]], limit: Limit) -> float:
    """The part of what the limit allows over the whole time."""
    if len(arrivals) < 2:
        return 0.0
    seconds = arrivals[-1][0] - arrivals[0][0]
    return len(arrivals) / max(1.0, seconds / limit.window_seconds * limit.count)


def _check_bots(fleet: Fleet, say: Callable[[str], None]) -> None:
    """Only documented errors, and no word of the upstream that a request was one too many."""
    counts, raised = Counter[str](), defaultdict[str, list[dict[str, Any]]](list)
    for path in sorted((fleet.folder / "bots").iterdir()):
        for event in read(path):
            what = event.get("error", event.get("what", "")).rpartition(".")[2]
            counts[f"{event['do']}:{what}"] += 1
            if "error" in event and not _is_documented(event):
                text = re.sub(r"[0-9a-f-]{8,}|[0-9.]+", "N", event["text"])
                raised[f"{event['do']} raised {event['error']}: {text}"].append({"who": path.name, **event})
            if what == "UpstreamThrottled" or event.get("failed") == "throttled":
                raised["the upstream refused a request as one too many"].append({"who": path.name, **event})
    for what, events in raised.items():
        fleet.broken(f"{what}, {len(events)} times, first: {events[0]}")
    say("bots: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))


def _is_documented(event: dict[str, Any]) -> bool:
    module, _, name = event["error"].rpartition(".")
    allowed = DOCUMENTED.get(event["do"], frozenset())
    is_ours = module.startswith("tbcache.")
    is_dead = event["do"] == "ended" and name == "TbcacheError" and "worker" in event["text"]
    return is_ours and (
        is_dead or name in allowed or ("Upstream*" in allowed and name.startswith("Upstream"))
    )


def _check_database(fleet: Fleet, say: Callable[[str], None]) -> None:
    """Every answer that somebody saw live is in the database."""
    with sqlite3.connect(fleet.folder / "data" / "tbcache.sqlite3") as database:
        rows = database.execute("SELECT source, symbol, hours, as_of FROM sentiment_snapshots").fetchall()
    kept = {(source, symbol, hours, _moment(as_of)) for source, symbol, hours, as_of in rows}
    seen, missing = 0, []
    for path in sorted((fleet.folder / "bots").iterdir()):
        for event in read(path):
            if event.get("what") != "live" or "as_of" not in event:
                continue
            seen += 1
            if (event["source"], event["symbol"], event["hours"], round(event["as_of"], 6)) not in kept:
                missing.append(f"{path.name} {event}")
    say(f"live answers seen {seen}, snapshots {len(kept)}")
    for each in missing[:10] if not fleet.shape.loses else []:
        fleet.broken(f"an answer is not in the database: {each}")
    # As the next process would when it starts.
    Spill(fleet.folder / "data" / "spill").files()
    spilled = [path for path in (fleet.folder / "data").rglob("spill/**/*") if path.is_file()]
    if spilled:
        fleet.broken(f"answers left in files: {[str(path) for path in spilled[:5]]}")


def _moment(text: str) -> float:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp(), 6)


def _check_logs(fleet: Fleet, say: Callable[[str], None]) -> None:
    """No raw error and no traceback in what anyone has written; alike ones are told once."""
    sizes, found = [], Counter[str]()
    for path in sorted((fleet.folder / "logs").iterdir()):
        lines = path.read_text(errors="replace").splitlines()
        sizes.append((len(lines), path.name))
        found.update(f"{path.name.split('.')[0]}: {each}" for each in _raw_errors(lines))
    for each, count in found.most_common():
        fleet.broken(f"a raw error, {count} times, of {each}")
    most, name = max(sizes)
    say(f"log lines {sum(count for count, _ in sizes)}, most in {name}: {most}")


def _raw_errors(lines: list[str]) -> Iterator[str]:
    """Each traceback as its last line and the frames of ours; each other raw line as it is."""
    frames: list[str] | None = None
    for line in lines:
        if "Traceback (most recent call last)" in line:
            frames = []
        elif frames is not None and (frame := FRAME.search(line)):
            frames.append(f"{frame[1]}:{frame[2]} {frame[3]}")
        elif frames is not None and line[:1] not in (" ", ""):
            yield f"{line[:200]} | " + " < ".join(frames[:-5:-1])
            frames = None
        elif RAW.search(line) and frames is None:
            yield re.sub(r"^\S+Z ", "", line)[:200]
