"""One trace from a bot's ask to the end of its load, over all processes that have a part in it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tbcache import enqueue
from tbcache.io.trace import carrier
from tests.cli.command import clean_environment
from tests.server import Server, wait_until
from tests.test_workers import START_SECONDS, Fleet
from tests.tracing.conftest import Collector, Memory, Seen
from tests.upstream import SimulatorProcess, running_simulator

PAGE = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text("utf-8")


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorProcess]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def fleet(
    server: Server,
    upstream: SimulatorProcess,
    collector: Collector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Fleet]:
    fleet = Fleet(server, upstream, tmp_path / "data")
    fleet.variables |= collector.variables
    for name, value in fleet.variables.items():
        monkeypatch.setenv(name, value)
    yield fleet
    fleet.close()
    upstream.clear_faults()


def test_a_job_stays_in_the_trace_of_its_ask_when_its_worker_dies(
    fleet: Fleet, collector: Collector, spans: Memory
) -> None:
    """Who looks for what became of an ask finds all of it: in the API, the worker that died, and its heir."""
    fleet.upstream.faults({"latency": [60, 60]})
    api = fleet.start("-P", "-m", "tbcache", "api", "--port", "0")
    dead = fleet.start("-m", "workers", "news", "--threads", "1")
    (url, *_) = wait_until(lambda: re.findall(r"http://127\.0\.0\.1:\d+", api.output), START_SECONDS)
    with spans.tracer.start_as_current_span("bot"):
        job_id = post(f"{url}/api/jobs", {"source": "news", "symbols": ["AAPL"]})[0]["job_id"]
    (first,) = wait_until(lambda: collector.named("admit news"), START_SECONDS, what="its load has begun")
    dead.kill()
    fleet.upstream.clear_faults()
    with spans.tracer.start_as_current_span("other bot"):
        handle = enqueue("news", "AAPL")
        assert (handle.job_id, handle.state) == (job_id, "joined")
        heir = fleet.start("-m", "workers", "news", "--threads", "1")
        handle.result(START_SECONDS)
    assert (heir.stop(), api.stop()) == (0, 0), heir.output + api.output

    bot, asked = spans.one("bot"), collector.one("POST /api/jobs")
    send, process = collector.one("send news"), collector.one("process news")
    assert {one.trace_id for one in collector.all()} == {bot.trace_id}
    assert (asked.kind, send.kind, process.kind) == ("SERVER", "PRODUCER", "CONSUMER")
    assert (asked.parent, send.parent, process.parent) == (bot.id, asked.id, send.id)
    fetch = children(collector, process)["fetch news"]
    assert list(children(collector, fetch)) == ["admit news", "GET", "settle news"]
    names = {one.process: set[str]() for one in collector.all()}
    for one in collector.all():
        names[one.process].add(one.name)
    assert names == {
        asked.process: {"POST /api/jobs", "send news"},
        # Of a worker that is killed only what had ended by then is known.
        first.process: {"admit news"},
        process.process: {"process news", "fetch news", "admit news", "GET", "settle news"},
    }
    assert sorted(name for name, _ in names) == ["tbcache-api", "tbcache-worker", "tbcache-worker"]
    # Who has joined the job, and waits for its result, is told by which span it came about.
    joined, waiting = spans.one("send news"), spans.one("await news")
    assert (joined.facts["tbcache.state"], waiting.links) == ("joined", (process.id,))
    assert {one.facts["messaging.message.id"] for one in (send, process, joined, waiting)} == {job_id}


def post(url: str, body: Any) -> Any:
    """What the API answers, which is told of the span that runs here."""
    answer = httpx2.post(url, json=body, headers=dict(carrier()), timeout=60)
    return answer.raise_for_status().json()


def children(spans: Collector, parent: Seen) -> dict[str, Seen]:
    return {one.name: one for one in spans.all() if one.parent == parent.id}


def test_the_example_of_the_page_runs(server: Server, upstream: SimulatorProcess, tmp_path: Path) -> None:
    """Who copies it into a file has a program that works, and that warns of nothing."""
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        env=clean_environment(REDIS_URL=server.url, TBCACHE_REDIS_TIMEOUT="10", **upstream.variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
