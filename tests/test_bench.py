"""The benchmark measures what it says, on a fleet and a server too small to tell times. No test here
looks at a time: the peers and the ratios are for ``make bench``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
from bench import clear, decision, exactness, fleet, hit, outage, report, stampede
from bench.table import Bar, Table
from tbcache.models import Limit
from tests.server import Server


@pytest.fixture(scope="module")
def workers() -> Iterator[fleet.Fleet]:
    with fleet.start(2) as workers:
        yield workers


@pytest.fixture
def disposable() -> Iterator[Server]:
    """A server whose keys nobody checks: the benchmark leaves some without a TTL."""
    server = Server().start()
    yield server
    server.close()


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(bench.__path__)])
def test_every_module_is_imported_without_the_peers(name: str) -> None:
    """The peers live in an environment of their own; the tests run without it."""
    if name != "__main__":
        importlib.import_module(f"bench.{name}")


@pytest.mark.parametrize("skew_seconds", [0.0, 3600.0])
def test_the_strict_upstream_refuses_nothing_of_ours(
    workers: fleet.Fleet, disposable: Server, skew_seconds: float
) -> None:
    """Counts are what the benchmark and this suite share: no refusal, whatever the clients' clocks."""
    seen = exactness.measure(
        "tbcache", workers, disposable.url, Limit(5, 0.5), 1.5, threads=2, skew_seconds=skew_seconds
    )
    assert seen.cell == "0/5"
    assert seen.round_trips <= 2.6
    assert exactness.row("tbcache", dict.fromkeys(exactness.LOADS, seen))[:2] == ["tbcache", "0/5"]


def test_a_strict_upstream_refuses_what_is_over() -> None:
    """A limiter that overshoots must not look exact."""
    limit = Limit(2, 1.0)
    assert exactness.strict([0.0, 0.1, 0.2, 1.0, 1.05, 1.1], limit) == [0.0, 0.1, 1.0, 1.1]
    assert exactness.used([0.0, 0.1, 1.25, 1.35], limit) == pytest.approx(0.8)


def test_a_decision_is_compared_with_a_get(disposable: Server) -> None:
    """Both of our ways to ask have a row."""
    found = decision.measure(disposable, {}, rounds=1, calls=3)
    assert [row[0] for row in found.rows] == ["tbcache admit", "tbcache check_rate_limit"]


def test_hits_are_compared_with_and_without_the_in_process_layer(disposable: Server) -> None:
    """The two bars of the hit path are about these two rows; a peer that cannot run says why."""
    found = hit.measure(disposable, {"peer": "- (not here)"}, rounds=1, calls=3)
    names = [row[0] for row in found.rows]
    assert {hit.WITHOUT_LOCAL, hit.WITH_LOCAL} < set(names)
    assert found.rows[-1] == ["peer", "- (not here)"]
    assert len(found.bars) == 2


def test_a_cold_stampede_loads_once(workers: fleet.Fleet) -> None:
    """The counts of the stampede are promises, not figures of one machine."""
    found = stampede.measure(workers, ["tbcache fetch"], (1, 1))
    assert found.rows[0][1] == "1"
    assert found.bars[0].is_met


def test_a_clear_leaves_no_survivor(workers: fleet.Fleet) -> None:
    """However long it is swept after that, what was cleared is gone when the call returns."""
    found = clear.measure(workers, ["tbcache clear_pattern"], 1000)
    assert found.rows[0][-1] == "0"
    assert len(found.rows[0]) == len(found.columns)


def test_the_clear_table_fills_keys_that_can_be_read(disposable: Server) -> None:
    """Without keys that are there before, a clear that does nothing would leave no survivor."""
    way = clear.ways(disposable, ["tbcache clear_pattern"])["tbcache clear_pattern"]
    clear.fill(disposable, way, 100)
    assert sum(way.is_seen(number) for number in range(100)) == 10


def test_an_outage_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers of tbcache see an answer each time, whether Redis is dead or frozen."""
    monkeypatch.setattr(outage, "BEFORE_SECONDS", 0.2)
    monkeypatch.setattr(outage, "AFTER_SECONDS", 0.5)
    found = outage.measure(["tbcache fetch"], 0.3, 0.3)
    assert found.rows[0][1] == "0 / 0"


def test_a_bar_that_is_missed_says_so() -> None:
    """The results are read for what is not met."""
    table = Table("T", "How.", ["a", "b"], [["x", "1"]], [Bar("1 load", "2", False), Bar("none", "0", True)])
    text = report.results([table])
    assert "1 of 2 bars met. Not met: 1 load (2)." in text
    assert "NOT MET  1 load: 2" in text
    assert "| x | 1 |" in text


def test_the_lock_names_no_index() -> None:
    """The environment of the peers is installed from whatever index the machine is set up for."""
    lock = (Path(bench.__file__).parent / "requirements.lock").read_text("utf-8")
    assert "--hash=sha256:" in lock
    assert "://" not in lock
    assert "-index" not in lock
