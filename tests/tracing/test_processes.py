"""One trace from a bot's ask to the end of its load, over all processes that have a part in it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tbcache import enqueue
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
    """Who looks for what became of an ask finds all of it: the bot, the worker that died, and its heir."""
    fleet.upstream.faults({"latency": [60, 60]})
    dead = fleet.start("-m", "workers", "news", "--threads", "1")
    with spans.tracer.start_as_current_span("bot"):
        handle = enqueue("news", "AAPL")
    first = wait_until(lambda: collector.named("admit news"), START_SECONDS, what="its load has begun")
    dead.kill()
    fleet.upstream.clear_faults()
    heir = fleet.start("-m", "workers", "news", "--threads", "1")
    with spans.tracer.start_as_current_span("later"):
        handle.result(START_SECONDS)
    assert heir.stop() == 0, heir.output

    bot, send = spans.one("bot"), spans.one("send news")
    process = collector.one("process news")
    assert {one.trace_id for one in (bot, send, *collector.all())} == {bot.trace_id}
    assert [first[0].process[0], process.process[0]] == ["tbcache-worker", "tbcache-worker"]
    assert first[0].process != process.process
    # Of the one that died only what had ended is known, and each process has a span of its own.
    assert {one.name for one in collector.all() if one.process == first[0].process} == {"admit news"}
    assert (send.parent, process.parent, process.links) == (bot.id, send.id, (send.id,))
    assert (send.kind, process.kind) == ("PRODUCER", "CONSUMER")
    fetch = children(collector, process)["fetch news"]
    assert list(children(collector, fetch)) == ["admit news", "GET", "settle news"]
    # Who waits for the result is told by which span it came about.
    waiting = spans.one("await news")
    assert (waiting.parent, waiting.links) == (spans.one("later").id, (process.id,))
    ids = {one.facts["messaging.message.id"] for one in (send, process, waiting)}
    assert ids == {handle.job_id}


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
