"""The benchmark measures what it says, on a fleet and a server too small to tell times. No test here
looks at a time: the peers and the ratios are for ``make bench``."""

from __future__ import annotations

import asyncio
import gc
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from opentelemetry import trace as api

import bench
from bench import (
    aio,
    bill,
    bulk,
    clear,
    damage,
    day,
    decision,
    exactness,
    fairness,
    fleet,
    foreign,
    hit,
    lanes,
    layer,
    outage,
    pacing,
    peers,
    prewarm,
    queue,
    refresh,
    refusal,
    report,
    scale,
    scaling,
    stampede,
    trace,
)
from bench.table import Bar, Table
from bench.upstream import Line, running
from tbcache.models import Limit
from tests.proxy import Proxy
from tests.server import Server, wait_until


@pytest.fixture(scope="module")
def workers() -> Iterator[fleet.Fleet]:
    with fleet.start(2) as workers:
        yield workers


@pytest.fixture
def disposable() -> Iterator[Server]:
    """A server whose keys nobody checks: the benchmark leaves some without a TTL."""
    server = Server().start()
    yield server
    # A benchmark is a process, whose end closes what it has opened; here the garbage collector would warn of
    # each connection, in whatever test it runs next.
    for one in gc.get_objects():
        if type(one) is redis.Connection and one.port == server.port:
            one.disconnect()
    server.close()


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(bench.__path__)])
def test_every_module_is_imported_without_the_peers(name: str) -> None:
    """The peers live in an environment of their own; the tests run without it."""
    if name != "__main__":
        importlib.import_module(f"bench.{name}")


def test_a_queue_is_measured_by_a_client_and_a_worker_of_its_own() -> None:
    """Each peer is measured so, and ours is the one that is installed here."""
    found = peers.cost("tbcache", 2, 20)
    assert min(found) > 0
    assert found.pick_up < 20


def test_a_table_that_is_measured_alone_takes_the_place_of_the_last_one() -> None:
    """A run of all takes a quarter of an hour, and a quiet machine."""
    text = "# All\n\nhead\n\n## One\n\nold\n\n## Two\n\nkept\n"
    one, three = (Table(title, "note", ["a"], [["1"]]) for title in ("One", "Three"))
    found = report.replaced(text, [one, three])
    assert [line for line in found.splitlines() if line.startswith("#")] == [
        "# All",
        "## One",
        "## Two",
        "## Three",
    ]
    assert "old" not in found
    assert "kept" in found
    assert report.replaced(found, [one, three]) == found


def test_the_strict_upstream_refuses_nothing_of_ours(workers: fleet.Fleet, disposable: Server) -> None:
    """Counts are what the benchmark and this suite share: no refusal, however wrong the clients' clocks."""
    # Long enough that what a process asks once, at its start, is little beside its fetches.
    seen = exactness.measure(
        "tbcache", workers, disposable.url, Limit(5, 0.5), 3.0, threads=2, skew_seconds=3600.0
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
    """Both of our ways to ask have a row, beside what no limiter undercuts."""
    found = decision.measure(disposable, {}, rounds=1, calls=3)
    assert [row[0] for row in found.rows] == [
        "the least possible",
        "tbcache admit",
        "tbcache check_rate_limit",
    ]


def test_the_layers_of_a_call_are_the_same_call_with_less(disposable: Server) -> None:
    """What stands in a script's place carries out its commands, and the caller does not see a difference."""
    found = layer.measure(disposable, rounds=1, calls=3)
    names = [row[0] for row in found.rows]
    assert names[2::3] == ["admit without its script", ".send without its script"]
    assert [int(name.split()[2]) >= 9 for name in names[3::3]] == [True, True]


def test_a_hit_is_compared_with_one_without_spans(disposable: Server) -> None:
    """Who listens meanwhile does so no longer afterwards."""
    before = api._TRACER_PROVIDER
    found = trace.measure(disposable, rounds=1, calls=3)
    assert [row[0] for row in found.rows] == list(trace.HITS)
    assert len(found.rows[0]) == 1 + len(trace.LISTENERS)
    assert (api._TRACER_PROVIDER, sys.modules["opentelemetry.trace"]) == (before, api)


def test_hits_are_compared_with_and_without_the_in_process_layer(disposable: Server) -> None:
    """The two bars of the hit path are about these two rows; a peer that cannot run says why."""
    found = hit.measure(disposable, {"peer": "- (not here)"}, rounds=1, calls=3)
    names = [row[0] for row in found.rows]
    assert {hit.WITHOUT_LOCAL, hit.WITH_LOCAL} < set(names)
    assert found.rows[-1] == ["peer", "- (not here)"]
    assert len(found.bars) == 2


def test_calls_in_an_event_loop_are_compared_with_redis_asyncio(disposable: Server) -> None:
    """The two bars are about one row: alone, and with many tasks at once."""
    found = asyncio.run(aio.measure(disposable, no_peers, rounds=1, calls=64))
    assert {aio.TRANSPORT, aio.WITHOUT_MEMORY} < {row[0] for row in found.rows}
    assert len(found.bars) == 2


async def no_peers(url: str) -> dict[str, aio.Call]:
    return {}


def test_a_cold_stampede_loads_once(workers: fleet.Fleet) -> None:
    """The counts of the stampede are promises, not figures of one machine."""
    found = stampede.measure(workers, ["tbcache fetch"], (1, 1))
    assert found.rows[0][1] == "1"
    assert found.bars[0].is_met


def test_a_clear_leaves_no_survivor(workers: fleet.Fleet, disposable: Server) -> None:
    """However long it is swept after that, what was cleared is gone when the call returns."""
    found = clear.measure(workers, disposable, ["tbcache clear_pattern"], 1000)
    assert found.rows[0][-1] == "0"
    assert len(found.rows[0]) == len(found.columns)


def test_the_clear_table_fills_keys_that_can_be_read(disposable: Server) -> None:
    """Without keys that are there before, a clear that does nothing would leave no survivor."""
    way = clear.ways(disposable, ["tbcache clear_pattern"])["tbcache clear_pattern"]
    clear.fill(disposable, way, 100)
    assert sum(way.is_seen(number) for number in range(100)) == 10


def test_a_queue_is_worked_off_beside_dramatiqs_own(
    disposable: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either broker does every job of both kinds, and each kind has its bar."""
    monkeypatch.setattr(queue, "IDLE_MS", 50)
    found = queue.measure(disposable, rounds=1, jobs=20, threads=(2,))
    assert [row[:2] for row in found.rows] == [["no-op", "2"], ["cached hit", "2"]]
    assert len(found.bars) == 2


def test_an_outage_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers of tbcache see an answer each time, whether Redis is dead or frozen."""
    monkeypatch.setattr(outage, "BEFORE_SECONDS", 0.2)
    monkeypatch.setattr(outage, "AFTER_SECONDS", 0.5)
    found = outage.measure(["tbcache fetch"], 0.3, 0.3)
    assert found.rows[0][1] == "0 / 0"


def test_the_upstream_of_all_processes_refuses_what_is_over_and_while_it_is_shut() -> None:
    """What it says is what the limiters learn from."""
    with running(Limit(1, 60.0)) as upstream:
        line = Line(upstream.address, tells_figures=True)
        first, second = line.send(), line.send()
        upstream.shut(60.0, "quota")
        third = line.send()
        line.close()
    assert first.refusal is None
    assert first.hint is not None
    assert first.hint.remaining == 0
    kinds = [answer.refusal.kind for answer in (second, third) if answer.refusal is not None]
    assert kinds == ["throttled", "quota"]


def test_somebody_else_uses_the_same_key(workers: fleet.Fleet, disposable: Server) -> None:
    """Both of them are seen by the one upstream, and ours has a bar for each promise."""
    case = foreign.Case("tbcache", "steady", True)
    seen = foreign.run(case, workers, disposable.url, 3.5, threads=2)
    assert seen.sent > 0
    assert seen.foreign > 0
    assert len(foreign.bars(case, seen)) == 2


def test_the_fleet_stops_when_the_upstream_says_so(workers: fleet.Fleet, disposable: Server) -> None:
    """Requests that were under way are refused, and counted apart from those sent later."""
    seen = refusal.run(workers, "tbcache", "throttled", disposable.url, (0.2, 0.3, 0.2), threads=1)
    assert seen.crossed + seen.more <= seen.refused


def test_what_is_sent_while_the_word_is_on_its_way_is_told_from_what_is_sent_later() -> None:
    """A fleet that goes on must not look like one that a refusal crosses, nor the other way round."""
    under_way, first = refusal.Sent(0.9, 1.2), refusal.Sent(0.8, 1.0)
    crossed, later, after = refusal.Sent(1.04, 1.3), refusal.Sent(1.1, 1.4), refusal.Sent(3.5, None)
    sent = [refusal.Sent(0.1, None), under_way, first, crossed, later, after]
    assert refusal.judge(sent, 3.0) == refusal.Seen(refused=4, crossed=1, more=1, back=0.5)


def test_a_lane_is_measured_beside_the_other(workers: fleet.Fleet, disposable: Server) -> None:
    """However they share it, both together keep the limit."""
    seen = lanes.run(workers, disposable.url, 0.5, "prewarm", 1.0)
    assert seen.waits
    assert seen.prewarmed > 0
    assert seen.most <= exactness.LIMIT.count


def test_what_is_kept_warm_is_measured_beside_what_is_not() -> None:
    """One symbol that is asked for all the time is always fresh once it is listed."""
    ways = (prewarm.ON_DEMAND, prewarm.BY_DEMAND)
    found = prewarm.measure(ways, 12.0, {"S1": 0.5}, ttl=8.0)
    assert [row[0] for row in found.rows] == [way.name for way in ways]
    assert found.rows[0][-1] == "1.00"
    assert (found.rows[0][2] == "100.0%", found.rows[1][2]) == (False, "100.0%")
    assert len(found.bars) == 2


def test_a_refresh_is_one_load(workers: fleet.Fleet, disposable: Server) -> None:
    """A key that expires once is loaded once more, by whoever comes first."""
    seen = refresh.run(workers, "tbcache fetch", disposable.url, 0.5)
    assert seen.calls > 0
    assert seen.loads <= 1


def test_the_answer_of_a_dead_lease_is_dropped(disposable: Server) -> None:
    """Whether its heir still loads or is done."""
    assert refresh.late_answers(disposable.url) == ["dropped", "dropped"]


def test_the_limit_holds_when_the_server_forgets(
    monkeypatch: pytest.MonkeyPatch, workers: fleet.Fleet
) -> None:
    """Nobody raises, and what the fleet has sent is remembered by it."""
    monkeypatch.setattr(damage, "BEFORE_SECONDS", 0.5)
    monkeypatch.setattr(damage, "AFTER_SECONDS", 0.5)
    seen = damage.run(damage.DAMAGES["FLUSHALL"], workers, threads=2)
    assert seen.errors == 0
    assert 0 < seen.most <= exactness.LIMIT.count


def test_full_rate_begins_with_the_first_window_that_is_full() -> None:
    """The time lost after an outage is counted from its end."""
    steady = [5.0 + number / 25 for number in range(100)]
    assert damage.full_after(steady, 5.0) == 0.0
    assert damage.full_after(steady, 3.0) == pytest.approx(2.0)
    assert damage.full_after(steady[:20], 5.0) == float("inf")


def test_the_use_of_an_outage_is_what_arrived_while_it_lasted() -> None:
    """Fifty at once every two seconds is all that the limit allows."""
    bursts = [2.0 * (number // 50) + number % 50 / 1000 for number in range(500)]
    assert damage.used_between(bursts, 4.0, 8.0) == pytest.approx(1.0)
    assert damage.used_between(bursts[::2], 4.0, 8.0) == pytest.approx(0.5)
    assert damage.used_between(bursts[:50], 5.0, 9.0) == 0.0


def test_a_wait_counts_from_the_end_of_the_damage() -> None:
    """What was waited before is the outage's, and what ended before it is not looked at."""
    assert damage.longest_wait([(1.0, 4.9), (4.0, 6.5), (5.5, 6.0)], 5.0) == 1.5
    assert damage.longest_wait([(1.0, 4.9)], 5.0) == 0.0


def test_the_worst_of_several_phases_is_told() -> None:
    """And the mean of what they used, which depends on how many bursts fall into an outage."""
    one = damage.Seen(50, 0.6, 0.0, 0.25, 1.9, {"go": 0}, 0, 0)
    other = damage.Seen(51, 1.0, 0.5, 0.01, 2.4, {"go": -1}, 1, 2)
    assert damage.worst([one, other]) == damage.Seen(51, 0.8, 0.5, 0.25, 2.4, {"go": -1}, 1, 2)


def test_a_proxy_cuts_off_and_lets_through(disposable: Server) -> None:
    """Refused at once, or silent: the two ways in which a server cannot be reached."""
    proxy = Proxy(disposable.port).start()
    client = redis.Redis.from_url(proxy.url, socket_timeout=0.2, socket_connect_timeout=0.2)
    assert client.ping()
    proxy.refuse()
    with pytest.raises(redis.ConnectionError):
        client.ping()
    proxy.mend()
    assert wait_until(client.ping)
    proxy.silence()
    with pytest.raises(redis.TimeoutError):
        client.ping()
    proxy.mend()
    assert wait_until(client.ping)
    client.close()
    proxy.close()


def test_the_bill_is_the_upstreams(workers: fleet.Fleet) -> None:
    """Posts read again are billed once, here as there."""
    seen = bill.run(workers, 1, None)
    assert seen.reckoned == pytest.approx(seen.billed)
    assert seen.read * 0.005 > seen.billed > 0


def test_a_days_bill_is_the_upstreams_users_included() -> None:
    """An answer that holds users is reckoned with them; and none is asked for."""
    asked, expanded = day.Reader().read(2), day.Reader("author_id").read(2)
    assert day.Reader(is_filtered=False).read(2).posts > asked.posts
    assert (asked.users, expanded.users > 0) == (0, True)
    assert asked.reckoned == pytest.approx(asked.billed)
    assert expanded.reckoned == pytest.approx(expanded.billed)
    assert expanded.billed > 2 * asked.billed > 0


def test_ten_symbols_in_one_request_are_billed_once() -> None:
    """A request a round, over midnight as well, and nothing that was known before is paid for again."""
    found, worth = day.Refresher(len(day.SYMBOLS)).refreshed(8)
    assert found.requests == 8
    assert found.reckoned == pytest.approx(found.billed)
    assert 0 < found.billed <= 1.05 * worth


def test_a_bar_that_is_missed_says_so() -> None:
    """The results are read for what is not met."""
    table = Table("T", "How.", ["a", "b"], [["x", "1"]], [Bar("1 load", "2", False), Bar("none", "0", True)])
    text = report.results([table])
    assert "1 of 2 bars met. Not met: 1 load (2)." in text
    assert "NOT MET  1 load: 2" in text
    assert "| x | 1 |" in text
    mended = report.replaced(text, [Table("T", "How.", ["a"], [["x"]], [Bar("1 load", "1", True)])])
    assert "1 of 1 bars met.\n" in mended


def test_the_lock_names_no_index() -> None:
    """The environment of the peers is installed from whatever index the machine is set up for."""
    lock = (Path(bench.__file__).parent / "requirements.lock").read_text("utf-8")
    assert "--hash=sha256:" in lock
    assert "://" not in lock
    assert "-index" not in lock


def test_many_jobs_are_queued_beside_those_that_are_sent(
    disposable: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And start when they were told; the figures are for a quiet machine."""
    monkeypatch.setattr(bulk, "LIMITS", "20/0.2s")
    monkeypatch.setattr(bulk, "WORK_SECONDS", 0.001)
    found = bulk.measure(disposable, rounds=1, jobs=20, paced=30)
    assert [row[0].partition(" ")[0] for row in found.rows] == ["`.send`"] * 2 + ["`enqueue_many`"] * 2
    assert len(found.bars) == 3


def test_paced_jobs_are_worked_off_beside_others(disposable: Server) -> None:
    """Each once, and no more than the limit; the other figures are for a quiet machine."""
    found = pacing.measure(disposable, Limit(8, 0.3), 20, 0.001)
    assert [bar.is_met for bar in found.bars[2:4]] == [True, True]
    assert len(found.bars) == 5


def test_callers_share_a_queue(disposable: Server) -> None:
    """Who has few jobs is measured beside who has many; the figures are for a quiet machine."""
    found = fairness.measure(disposable, Limit(16, 0.3), 100, 2)
    assert [row[0][:8] for row in found.rows] == ["B's last", "B's last", "8 equals", "weights ", "scripts "]
    assert fairness.jain([5, 5, 5]) == 1 > fairness.jain([5, 5, 0])


def test_scaling_by_what_is_wanted_takes_less_than_by_the_backlog() -> None:
    """Jobs that wait for a limit want no pod; those of a queue without one want theirs at once."""
    bulk = [scaling.Arrival(float(number % 60), False) for number in range(2000)]
    reports = [scaling.Arrival(600.0 + number / 100, True) for number in range(600)]
    arrivals = [[], [], sorted(bulk), reports]
    ours = scaling.play(arrivals, scaling.by_signal)
    theirs = scaling.play(arrivals, scaling.by_backlog(100))
    assert ours.pod_hours <= 0.5 * theirs.pod_hours
    assert ours.wait(0.95) < 90


def test_what_a_fleet_costs_is_the_sum_of_what_its_parts_do(disposable: Server) -> None:
    """The figures of docs/scale.md are commands as well, which do not depend on the machine."""
    unit = scale.measure(disposable, count=20, seconds=0.5)
    # Beats are among them, of which there are more on a busy machine.
    assert 1 <= unit.hit.commands < unit.load.commands
    assert unit.answer_bytes > 500
    fleet = scale.Fleet("small", processes=2, hits=10.0, loads=3.0, jobs=1.0)
    wanted = 2 * unit.process_second.commands + 10 * unit.hit.commands + 3 * unit.load.commands
    assert unit.second_of(fleet).commands == pytest.approx(wanted + unit.job.commands)
    mix = scale.Fleet("mix", 4, hits=100.0, loads=20.0, jobs=0.0)
    found, said = scale.mixed(disposable, unit, mix, 1, symbols=20)
    assert min(found.commands, said.commands) > 20 * 20
