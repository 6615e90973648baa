"""Workers and schedulers as processes: they do the work, end in good order, and stand in for the dead."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from tbcache import enqueue, get_usage_monitor
from tbcache.models import FetchRequest
from tbcache.models.error import UpstreamNotFound
from tbcache.monitoring import UsageMonitor, WorkerStatus
from tbcache.queue import Queue
from tbcache.queue.heartbeat import living_threads
from tbcache.settings import Settings
from tbcache.store import Store
from tests.server import PATIENT, Server, wait_until
from tests.upstream import SimulatorProcess, running_simulator
from workers import health

ROOT = Path(__file__).parents[1]
DRAMATIQ = ("-m", "dramatiq", "workers", "--processes", "1", "--threads", "2")
START_SECONDS = 60.0
#: For how long a fetch's lease of its key, and its slot, hold. No heir of a job may wait for that.
LEASE_SECONDS = 300.0


def test_a_worker_whose_threads_are_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dramatiq does not start a thread again; the worker would take ever fewer jobs."""
    ends: list[tuple[int, int]] = []
    monkeypatch.setattr(health, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(os, "kill", lambda pid, signum: ends.append((pid, signum)))
    worker = dramatiq.Worker(StubBroker(), worker_threads=2)
    worker.start()
    watch = health.ThreadWatch(worker)
    watch.start()
    assert (watch.is_well, living_threads(worker)) == (True, 2)
    worker.workers[0].stop()
    wait_until(lambda: ends)
    assert (watch.is_well, living_threads(worker)) == (False, 1)
    assert ends == [(os.getpid(), signal.SIGTERM)]
    watch.stop()
    worker.stop()


class Process:
    """A Python program of ours in the checkout, with what it wrote."""

    def __init__(self, arguments: tuple[str, ...], variables: dict[str, str], cwd: Path = ROOT) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- as long as the process lives
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**os.environ, **variables},
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def stop(self, signum: signal.Signals = signal.SIGTERM, timeout: float = 60.0) -> int:
        """Send ``signum`` and wait; the exit code."""
        self.process.send_signal(signum)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to it and to its children, which are a group of their own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        self.kill()
        self._output.close()


class Fleet:
    """A server, a simulator, and processes that know both."""

    def __init__(self, server: Server, upstream: SimulatorProcess, folder: Path) -> None:
        self.server = server
        self.upstream = upstream
        self.variables = {
            "REDIS_URL": server.url,
            "TBCACHE_DATA_DIR": str(folder),
            "TBCACHE_COMMON_SYMBOLS": "AAPL,MSFT",
            "TBCACHE_LOG_LEVEL": "info",
            # Of a plan that has nothing yet nobody would ask anything.
            "TBCACHE_NEWS__DELAY_HOURS": "0",
            **upstream.variables,
        }
        self.settings = Settings.load(self.variables)
        self.store = Store(self.settings)
        self.monitor = UsageMonitor(self.store, self.settings)
        self.queue = Queue(self.store, self.settings)
        self._processes: list[Process] = []

    def start(self, *arguments: str, cwd: Path = ROOT, **variables: str) -> Process:
        process = Process(arguments, {**self.variables, **variables}, cwd)
        self._processes.append(process)
        return process

    def alive(self, role: str = "worker") -> list[WorkerStatus]:
        return [one for one in self.monitor.get_workers() if one.role == role and one.is_alive]

    def await_alive(self, count: int = 1, role: str = "worker") -> list[WorkerStatus]:
        """Wait until ``count`` processes of ``role`` are heard of."""
        said = lambda: "\n".join(one.output for one in self._processes)  # noqa: E731
        try:
            return wait_until(
                lambda: self.alive(role) if len(self.alive(role)) == count else [], START_SECONDS
            )
        except AssertionError:
            raise AssertionError(
                f"{count} of role {role} expected, seen {self.alive(role)}:\n{said()}"
            ) from None

    def close(self) -> None:
        for process in self._processes:
            process.close()
        self.store.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorProcess]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def fleet(private_server: Server, upstream: SimulatorProcess, tmp_path: Path) -> Iterator[Fleet]:
    upstream.reset()
    fleet = Fleet(private_server, upstream, tmp_path / "data")
    yield fleet
    fleet.close()
    upstream.clear_faults()


@pytest.fixture
def bot(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is a user's bot in the fleet's environment."""
    for name, value in fleet.variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "arguments", [DRAMATIQ, ("-m", "workers", "twitter", "--threads", "2")], ids=["dramatiq", "workers"]
)
def test_a_worker_does_what_a_bot_enqueues_and_ends_with_0(
    fleet: Fleet, bot: None, arguments: tuple[str, ...]
) -> None:
    """The bot imports no actor: a name in Redis is all the two have in common."""
    # A busy machine's slow answer would be an outage to it: what it stores then is in its own memory alone.
    worker = fleet.start(*arguments, **PATIENT)
    outcome = enqueue("twitter", "AAPL").result(timeout=START_SECONDS)
    assert (outcome.origin, outcome.request) == ("live", FetchRequest("twitter", "AAPL"))
    assert enqueue("twitter", "AAPL").result(timeout=START_SECONDS).origin == "cache"
    metrics = get_usage_monitor().get_source_metrics("twitter")
    assert (metrics.misses_today, metrics.hits_today) == (1, 1)
    assert worker.stop() == 0, worker.output
    assert "[warning" not in worker.output
    assert fleet.upstream.stats()["twitter"]["refused"] == 0


def test_a_failing_upstream_is_one_line_in_the_log_and_an_error_for_who_waits(fleet: Fleet) -> None:
    """Whoever is woken by an alert reads the log: a traceback in it must be a bug of ours."""
    fleet.upstream.faults(news={"error_rate": 1.0, "status": 404})
    worker = fleet.start("-m", "workers", "news", "--threads", "1")
    with pytest.raises(UpstreamNotFound):
        fleet.queue.enqueue(FetchRequest("news", "AAPL")).result(START_SECONDS)
    assert worker.stop() == 0
    assert worker.output.count("fetch.failed") == 1
    assert "Traceback" not in worker.output


def test_a_worker_that_finds_work_at_its_start_is_listed_as_one(fleet: Fleet) -> None:
    """A job that runs before the first heartbeat must not make it a mere client: `status` would
    say that no worker runs.
    """
    fleet.upstream.faults({"latency": [0.2, 0.2]})
    for number in range(8):
        fleet.queue.enqueue(FetchRequest("news", f"S{number}"))
    fleet.start("-m", "workers", "--threads", "4")
    (worker,) = fleet.await_alive()
    assert (worker.role, worker.threads) == ("worker", 4)


def test_a_worker_for_one_source_leaves_the_others_alone(fleet: Fleet) -> None:
    """`tbcache worker twitter` keeps a slow or costly source on machines of its own."""
    other = fleet.queue.enqueue(FetchRequest("reddit", "GME"))
    mine = fleet.queue.enqueue(FetchRequest("twitter", "GME"))
    fleet.start("-m", "workers", "twitter", "--threads", "2")
    assert mine.result(START_SECONDS).sentiment.source == "twitter"
    assert fleet.queue.depth("reddit").interactive == 1
    assert other.is_new


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("bluesky",), "unknown source 'bluesky'"), (("twiter",), "did you mean 'twitter'?")],
)
def test_a_worker_for_an_unknown_source_ends_with_2(
    fleet: Fleet, arguments: tuple[str, ...], word: str
) -> None:
    """A typo in a service file is found at the start, in one line."""
    worker = fleet.start("-m", "workers", *arguments)
    assert worker.process.wait(START_SECONDS) == 2
    assert word in worker.output
    assert len(worker.output.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [("-m", "workers"), ("-m", "scheduler")])
def test_a_process_without_redis_ends_with_3(fleet: Fleet, arguments: tuple[str, ...]) -> None:
    """A service manager that starts it again later is the right remedy, and the code says so."""
    process = fleet.start(*arguments, REDIS_URL="redis://127.0.0.1:1/0")
    assert process.process.wait(START_SECONDS) == 3
    assert "Redis is not reachable at redis://127.0.0.1:1/0" in process.output


def test_sigterm_drains(fleet: Fleet) -> None:
    """A deployment loses no fetch that was under way: it costs money and was waited for."""
    worker = fleet.start("-m", "workers", "news", "--threads", "1")
    fleet.await_alive()
    fleet.upstream.faults(news={"latency": [3, 3]})
    slow = fleet.queue.enqueue(FetchRequest("news", "AAPL"))
    next_one = fleet.queue.enqueue(FetchRequest("news", "MSFT"))
    wait_until(lambda: fleet.queue.depth("news").running == 1, what="the job is in hand")
    assert worker.stop() == 0, worker.output
    assert slow.result(timeout=START_SECONDS).origin == "live"
    depth = fleet.queue.depth("news")
    assert (depth.running, depth.interactive) == (0, 1), "what was not begun stays queued"
    assert next_one.is_new
    assert fleet.alive() == []


def test_the_jobs_of_workers_that_died_or_stalled_are_done_by_another(fleet: Fleet) -> None:
    """Machines die, or stand still, without a word; nobody should have to wait for minutes. What a worker
    had is not kept for one that can do nothing without the queue.
    """
    fleet.variables["TBCACHE_LEASE_SECONDS"] = str(LEASE_SECONDS)
    fleet.upstream.faults({"latency": [60, 60]})
    dead, stalled = (
        fleet.start("-m", "workers", source, "--threads", "1", TBCACHE_WORKER_NAME=source)
        for source in ("news", "reddit")
    )
    fleet.await_alive(2)
    requests = [FetchRequest("news", "AAPL"), FetchRequest("reddit", "GME")]
    handles = [fleet.queue.enqueue(request) for request in requests]
    leases = [fleet.store.keys.lease(request.key) for request in requests]
    wait_until(
        lambda: all(fleet.server.client.hget(lease, "token") for lease in leases),
        what="the fetches are under way",
    )
    dead.kill()
    stalled.process.send_signal(signal.SIGSTOP)
    # For a worker that is there its job is kept for half a minute, which is over.
    claims = fleet.store.keys.queue("reddit", "claims")
    (claim,) = fleet.server.client.zrange(claims, 0, -1)
    fleet.server.client.zincrby(claims, -60e6, claim)
    fleet.upstream.clear_faults()
    fleet.start("-m", "workers", "news", "reddit", "--threads", "2", TBCACHE_WORKER_NAME="heir")
    assert [handle.result(timeout=START_SECONDS).origin for handle in handles] == ["live", "live"]


def leader_of(fleet: Fleet) -> str | None:
    """Who leads the schedulers: beside the name stands the token of the lease."""
    found: Any = fleet.server.client.get("trading_bot:schedule:leader")
    return None if found is None else found.decode().partition(" ")[2]


def test_two_schedulers_on_one_redis_warm_once(fleet: Fleet) -> None:
    """Two of them are for safety; each fetch they doubled would be paid twice."""
    for number in (1, 2):
        fleet.start("-m", "scheduler", TBCACHE_WORKER_NAME=f"scheduler-{number}")
    fleet.start("-m", "workers", "--threads", "4")
    fleet.await_alive(2, "scheduler")

    def is_warm() -> bool:
        keys, names = fleet.store.keys, fleet.upstream.stats()
        entries = [keys.entry(f"{name}:{one}:24") for name in names for one in fleet.settings.common_symbols]
        return fleet.store.client.exists(*entries) == len(entries) >= 10

    wait_until(is_warm, START_SECONDS, what="two symbols are warm in every source")
    # Of news all hours are there at once. Elsewhere a slow machine has begun to fill older hours by now.
    stats = fleet.upstream.stats()
    assert stats["news"]["accepted"] == 2
    assert {name: one["refused"] for name, one in stats.items()} == dict.fromkeys(stats, 0)
    assert leader_of(fleet) in ("scheduler-1", "scheduler-2")


def test_a_scheduler_that_stops_hands_over(fleet: Fleet) -> None:
    """An upgrade of one must not leave the symbols to expire."""
    first = fleet.start("-m", "scheduler", TBCACHE_WORKER_NAME="first")
    wait_until(lambda: leader_of(fleet) == "first", START_SECONDS)
    assert first.stop() == 0, first.output
    assert leader_of(fleet) is None
    assert fleet.alive("scheduler") == []
