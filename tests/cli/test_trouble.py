"""What the status says by the fleet's own word: what is on, and everything that is wrong."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from tbcache.admission import Go, Settlement
from tbcache.cli.dashboard import MOST_TROUBLES, dashboard
from tbcache.fleet import Fleet, FleetStatus, SourceStatus, Trouble, hindrances, look, snapshot
from tbcache.io import run, utc_now
from tbcache.models import Failure, FetchRequest, Limit
from tbcache.monitoring import RecentMetrics, UsageMonitor, Workload
from tbcache.queue import Queue
from tbcache.settings import BUILT_IN, Settings, declare, get_declared
from tbcache.store import Store
from tbcache.store.name import Names
from tbcache.store.server import ServerFacts
from tests.blocking import Admission
from tests.cli.command import Done, local_client
from tests.core.conftest import ask
from tests.core.test_dead import bury
from tests.server import Server
from tests.today import set_today

SettingsFor = Callable[..., Settings]
Cli = Callable[..., Done]

TOKEN = {"TBCACHE_TWITTER__BEARER_TOKEN": "secret"}
NOON = datetime(2030, 5, 6, 12, 0, 30, tzinfo=UTC)
NOON_US = int(NOON.timestamp() * 1e6)


#: A busy machine may answer late; that is another trouble than those that are looked for here.
PATIENT = {"TBCACHE_REDIS_TIMEOUT": "10"}


@pytest.fixture
def settings_for(settings_for: SettingsFor) -> SettingsFor:
    return lambda server, **variables: settings_for(server, **PATIENT, **variables)


@pytest.fixture(autouse=True)
def _has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of a test is as young as that of a fleet that begins."""
    monkeypatch.setattr(look, "STARTING_SECONDS", 0.0)
    for name, value in PATIENT.items():
        monkeypatch.setenv(name, value)


def say(
    store: Store, settings: Settings, role: str, name: str, workload: Workload | None = None
) -> UsageMonitor:
    """Have a process of the fleet beat once."""
    monitor = UsageMonitor(store, settings)
    monitor.worker = name
    monitor.beat(role, started_at=utc_now(), workload=workload)
    return monitor


def become_absent(store: Store, name: str, since: timedelta) -> datetime:
    """Have the last beat of ``name`` lie so far back; the moment of it."""
    beat_at = utc_now() - since
    mark = json.loads(store.client.hget(store.keys.workers, name) or b"")
    store.client.hset(store.keys.workers, name, json.dumps({**mark, "beat_at": beat_at.isoformat()}))
    return beat_at


def view(settings: Settings, store: Store) -> FleetStatus:
    return Fleet(settings, store).status()


def source(status: FleetStatus, name: str) -> SourceStatus:
    return next(one for one in status.sources if one.name == name)


def kinds(status: FleetStatus) -> list[str]:
    return [trouble.kind for trouble in status.troubles]


# The fleet's own word


def test_what_is_on_and_kept_warm_is_the_fleets_word(
    server: Server, settings_for: SettingsFor, store_for: Callable[..., Store]
) -> None:
    """A shell without credentials called twitter off, beside a worker that was fetching from it."""
    theirs = settings_for(
        server,
        **TOKEN,
        TBCACHE_TWITTER__LIMITS="7/1m",
        TBCACHE_COMMON_SYMBOLS="AAPL,MSFT",
        TBCACHE_SOURCES="mine=tests.test_custom_source:Boards",
    )
    here, store = settings_for(server), store_for(server)
    alone = view(here, store)
    assert (alone.is_told, source(alone, "twitter").state, len(alone.common_symbols)) == (False, "off", 10)
    say(store_for(server), theirs, "worker", "worker-1")
    seen = view(here, store)
    twitter = source(seen, "twitter")
    assert (seen.is_told, twitter.state, twitter.missing) == (True, "ok", ())
    assert ([limit.limit for limit in twitter.limits], twitter.configured) == (["7/1m"], ("300/15m",))
    assert (seen.common_symbols, twitter.common) == (("AAPL", "MSFT"), 2)
    assert source(seen, "reddit").missing == ("TBCACHE_REDDIT__CLIENT_ID", "TBCACHE_REDDIT__CLIENT_SECRET")


def test_a_shell_that_goes_by_its_own_settings_says_so(cli: Cli, server: Server) -> None:
    """Nobody is there whose word could be had."""
    page = cli("status", is_terminal=True, REDIS_URL=server.url, COLUMNS="120").out
    assert "no process was heard of within the last minute: settings shown are this shell's" in page
    assert cli("status", REDIS_URL=server.url).data["is_told"] is False


def test_a_damaged_profile_is_no_word_and_hides_nobody(settings: Settings, store: Store) -> None:
    """What a process of a later version says of its settings may not be known here."""
    monitor = say(store, settings, "worker", "worker-1")
    (mark,) = store.client.hvals(store.keys.workers)
    for junk in (b'"profile":7', b'"profile":{"sources":{"twitter":{"limits":"banana"}}}'):
        at = mark.index(b'"profile":')
        store.client.hset(store.keys.workers, monitor.worker, mark[:at] + junk + b"}")
        seen = view(settings, store)
        assert ([worker.name for worker in seen.workers], seen.is_told) == (["worker-1"], False)


def test_a_source_whose_module_breaks_does_not_silence_the_heartbeat(
    server: Server, settings_for: SettingsFor, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the user's own module, which may raise anything."""
    (tmp_path / "broken_source.py").write_text("raise RuntimeError('no such luck')\n")
    monkeypatch.syspath_prepend(tmp_path)
    theirs = settings_for(server, TBCACHE_SOURCES="mine=broken_source:Mine")
    say(store, theirs, "worker", "worker-1")
    (worker,) = view(settings_for(server), store).workers
    assert worker.profile is not None
    assert set(worker.profile.sources) == set(BUILT_IN)


def test_the_api_goes_by_the_fleets_word(
    server: Server, settings_for: SettingsFor, store: Store, settings: Settings
) -> None:
    """The API's container has no credentials, and needs none."""
    say(store, settings_for(server, **TOKEN), "worker", "worker-1")
    with local_client(settings) as client:
        limits = client.get("/api/monitoring/rate-limits").json()["sources"]
        assert (limits["twitter"]["is_enabled"], limits["news"]["is_enabled"]) == (True, False)
        assert 'tbcache_source_enabled{source="twitter"} 1' in client.get("/metrics").text
        told = client.get("/api/monitoring/status").json()
    assert [one["state"] for one in told["sources"] if one["name"] == "twitter"] == ["ok"]
    assert (told["troubles"], told["is_told"]) == ([], True)


# Figures of the last minutes


@contextmanager
def minutes(store: Store, monkeypatch: pytest.MonkeyPatch, **kept: str) -> Iterator[str]:
    """Stocktwits at noon of a day to come: ``m5="go=1"`` is what the day's figures were 5 minutes ago.

    Gives the key of the day's figures.
    """
    monkeypatch.setattr(store.clock, "now_us", at_noon)
    minute, day = NOON_US // 60_000_000, NOON_US // 86_400_000_000
    key, usage = store.keys.minutes("stocktwits"), store.keys.usage("stocktwits", NOON)
    for back, figures in kept.items():
        store.client.hset(key, str(minute - int(back[1:])), f"{day} {figures}")
    store.client.hset(usage, "w:go", 0)
    for name in (key, usage):
        store.client.expire(name, 60)
    yield usage


def test_the_last_minutes_are_told_beside_the_day(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """56 errors of this morning say nothing of now."""
    monitor = UsageMonitor(store, settings)
    with minutes(store, monkeypatch, m6="go=1", m5="go=10,hit=2,error.auth=4", m1="go=11") as usage:
        figures = {"w:go": 9, "v:go": 5, "w:hit": 8, "w:error.auth": 4, "w:ms20": 4, "w:cost": 250_000}
        store.client.hset(usage, mapping=figures)
        recent = monitor.get_recent_metrics("stocktwits")
    assert (recent.misses, recent.hits, recent.errors, recent.settled) == (4, 6, 0, 4)
    assert (recent.requests, recent.cache_hit_rate, recent.cost) == (10, 0.6, 0.25)
    assert (recent.seconds, recent.is_failing) == (330.0, False)


def test_the_last_minutes_go_on_beyond_midnight(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The day's figures begin anew, and are no fewer than before."""
    yesterday, today = NOON_US // 86_400_000_000 - 1, NOON_US // 86_400_000_000 * 1440
    with minutes(store, monkeypatch) as usage:

        async def past_midnight(source: str) -> float:
            return (today + 2) * 60e6

        monkeypatch.setattr(store.clock, "now_us", past_midnight)
        key = store.keys.minutes("stocktwits")
        store.client.hset(key, str(today - 3), f"{yesterday} go=100")
        store.client.expire(key, 60)
        before = store.keys.usage("stocktwits", NOON - timedelta(days=1))
        store.client.hset(before, "w:go", 103)
        store.client.expire(before, 60)
        store.client.hset(usage, "w:go", 2)
        assert UsageMonitor(store, settings).get_recent_metrics("stocktwits").misses == 5


def test_the_day_of_a_minute_is_the_servers(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process with a clock ahead made the whole day the last five minutes, near midnight."""
    monkeypatch.setattr("time.time", lambda: NOON_US / 1e6)
    monitor = UsageMonitor(store, settings)
    now_us = run(store.clock.now_us("stocktwits"))
    monitor.count("stocktwits", {"go": 1})
    assert monitor.flush()
    days = {int(text.split()[0]) for text in store.client.hvals(store.keys.minutes("stocktwits"))}
    assert days <= {int(now_us // 86_400_000_000), int((now_us + 60e6) // 86_400_000_000)}
    assert store.client.exists(store.keys.usage("stocktwits", NOON)) == 0


def test_a_minute_of_a_day_to_come_tells_nothing(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is taken off then, and all of the day would be of now."""
    tomorrow = NOON_US // 86_400_000_000 + 1
    with minutes(store, monkeypatch) as usage:
        key = store.keys.minutes("stocktwits")
        store.client.hset(key, str(NOON_US // 60_000_000 - 5), f"{tomorrow} go=0")
        store.client.expire(key, 60)
        store.client.hset(usage, mapping={"w:go": 5000, "w:error.server": 4000})
        assert UsageMonitor(store, settings).get_recent_metrics("stocktwits").requests == 0


def test_what_is_counted_now_is_recent(store: Store, settings: Settings) -> None:
    """By whoever counts, also by one that never beats."""
    monitor = UsageMonitor(store, settings)
    monitor.record_request("stocktwits", cost=0.5)
    assert monitor.flush()
    monitor.record_request("stocktwits", cached=True)
    assert monitor.flush()
    recent = UsageMonitor(store, settings).get_recent_metrics("stocktwits")
    assert (recent.requests, recent.hits, recent.cost) == (2, 1, 0.5)


def test_a_beat_keeps_the_minute_once(store: Store, settings: Settings, server: Server) -> None:
    """Sixty beats a minute of dozens of processes must not count the figures again each time."""
    monitor = say(store, settings, "scheduler", "scheduler")
    # A minute may begin in between.
    kept = {len(store.client.hgetall(store.keys.minutes(name))) for name in ("twitter", "stocktwits")}
    ran: list[str] = []
    run = store.ask
    store.ask = lambda script, call: (ran.append(script.name), run(script, call))[1]  # type: ignore[method-assign]
    for _ in range(20):
        monitor.beat("scheduler", started_at=utc_now())
    assert kept == {1}
    assert ran.count("minute") <= 5


@pytest.mark.parametrize(
    ("failed", "settled", "is_failing"),
    [(0, 0, False), (1, 1, True), (1, 2, False), (2, 4, False), (3, 6, True), (3, 7, False)],
)
def test_a_source_fails_where_most_of_its_fetches_do(failed: int, settled: int, is_failing: bool) -> None:
    """One error among good answers is no outage."""
    assert RecentMetrics("x", failed=failed, settled=settled).is_failing is is_failing


# Troubles


def test_credentials_that_are_refused_are_named_by_their_variable(
    server: Server,
    settings_for: SettingsFor,
    store: Store,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """401 on every request: the answer is one variable, and nobody should have to look for it."""
    monitor = say(store, settings_for(server, **TOKEN), "worker", "worker-1")
    monitor.count("twitter", {"go": 2, "ms20": 2, "error.auth": 2})
    assert monitor.flush()
    seen = view(settings, store)
    assert source(seen, "twitter").state == "failing"
    (trouble,) = seen.troubles
    assert (trouble.kind, trouble.source) == ("failing", "twitter")
    assert trouble.what == "twitter is failing (2 of 2 fetches: auth)"
    assert "TBCACHE_TWITTER__BEARER_TOKEN" in trouble.todo
    monitor.count("twitter", {"go": 3, "ms20": 3})
    assert monitor.flush()
    assert view(settings, store).troubles == ()


@pytest.mark.parametrize(
    ("kind", "failures", "is_told"), [("auth", 1, True), ("upstream", 3, True), ("upstream", 2, False)]
)
@pytest.mark.parametrize("is_batch", [True, False], ids=["counted", "settled"])
def test_the_last_fetches_count_for_more_than_the_good_ones_before(
    store: Store, settings: Settings, kind: str, failures: int, is_told: bool, is_batch: bool
) -> None:
    """Ten good answers of a minute outvoted that each after them was refused, until the next minute."""
    monitor = say(store, settings, "worker", "worker-1")
    fetch = counting(monitor) if is_batch else settling(store, settings, monitor)
    fetch(*[None] * 7)
    before = utc_now()
    fetch(*[kind] * failures)
    seen = view(settings, store)
    stocktwits = source(seen, "stocktwits")
    assert (stocktwits.state == "failing") is is_told
    told = f"the last {failures} fetches" if failures > 1 else "the last fetch"
    assert [one.what for one in seen.troubles] == (
        [f"stocktwits is failing ({told}: {kind})"] if is_told else []
    )
    assert (stocktwits.failing_since is not None) is is_told
    if stocktwits.failing_since:
        # Our clock and the server's are one here, but for what each rounds.
        assert before - timedelta(seconds=1) <= stocktwits.failing_since <= utc_now() + timedelta(seconds=1)
    # That there is no such symbol is an answer of the source.
    fetch("not_found")
    assert kinds(view(settings, store)) == []


def counting(monitor: UsageMonitor) -> Callable[..., None]:
    """Fetches that ended while Redis was away, or were recorded: each is told in a batch of its own."""

    def fetch(*kinds: str | None) -> None:
        for kind in kinds:
            monitor.count("stocktwits", {"go": 1, "ms20": 1, **({f"error.{kind}": 1} if kind else {})})
            assert monitor.flush()

    return fetch


def settling(store: Store, settings: Settings, monitor: UsageMonitor) -> Callable[..., None]:
    """Fetches by the pipeline's own way."""
    admission = Admission(store, settings, monitor)
    stocktwits = replace(BUILT_IN["stocktwits"], limits=(Limit(100, 60.0),))
    symbols = (f"S{number}" for number in itertools.count())

    def fetch(*kinds: str | None) -> None:
        for kind in kinds:
            verdict = admission.admit(ask(next(symbols), stocktwits))
            assert isinstance(verdict, Go)
            failure = Failure(kind, "no", 0, None) if kind else None
            end = Settlement(payload=None if failure else b"1", pages=1, seconds=0.01, failure=failure)
            admission.settle(verdict.grant, end)

    return fetch


def test_several_kinds_of_failures_are_all_named(store: Store, settings: Settings) -> None:
    """The first of them may be the cause, and damage at their place hides nothing of what comes."""
    monitor = say(store, settings, "worker", "worker-1")
    fetch = counting(monitor)
    store.client.hset(store.keys.state("stocktwits"), "failing", "7 x")
    fetch(None, None, None, None, None, "unavailable", "auth", "auth", "unavailable")
    (trouble,) = view(settings, store).troubles
    assert trouble.what == "stocktwits is failing (the last 4 fetches: auth, unavailable)"


@pytest.mark.parametrize("well", [{"go": 1, "ended": 1}, {"ms20": 1}], ids=["recorded", "without redis"])
def test_what_goes_well_beside_the_pipeline_ends_a_failure_as_well(
    store: Store, settings: Settings, well: dict[str, int]
) -> None:
    """A request that was recorded has no latency, and one that ended without Redis was asked before."""
    monitor = UsageMonitor(store, settings)
    monitor.count("stocktwits", {"go": 1, "error.auth": 1})
    assert monitor.flush()
    assert store.client.hexists(store.keys.state("stocktwits"), "failing")
    # One that was asked, and has not ended, may fail as well.
    monitor.count("stocktwits", {"go": 1})
    assert monitor.flush()
    assert store.client.hexists(store.keys.state("stocktwits"), "failing")
    monitor.count("stocktwits", well)
    assert monitor.flush()
    assert not store.client.hexists(store.keys.state("stocktwits"), "failing")
    assert not store.client.hexists(store.keys.usage("stocktwits", utc_now()), f"{monitor.worker}:ended")


def test_a_budget_that_is_spent_is_a_trouble_until_midnight(
    cli: Cli, server: Server, settings_for: SettingsFor, store: Store
) -> None:
    """Nothing is fetched for hours, while the status said ok, and the check that all is well."""
    budget = {"TBCACHE_TWITTER__DAILY_BUDGET": "1.2"}
    monitor = say(store, settings_for(server, **TOKEN, **budget), "worker", "worker-1")
    monitor.record_request("twitter", cost=0.8)
    assert monitor.flush()
    # The API, and a shell, have no budget of their own: that of the workers counts.
    assert view(settings_for(server), store).troubles == ()
    # All of it got old from then on, and all views said that nothing was wrong.
    monitor.record_request("twitter", cost=0.3)
    assert monitor.flush()
    seen = view(settings_for(server), store)
    (trouble,) = seen.troubles
    assert (source(seen, "twitter").state, trouble.kind, trouble.is_bad) == ("ok", "prewarm_budget", False)
    assert (
        trouble.what == "twitter is not kept warm any more: what that may cost is spent ($0.84 of $1.2 a day)"
    )
    assert trouble.until is not None
    (hindered,) = hindrances(seen, "twitter")
    assert (hindered.until, hindered.is_idle) == (trouble.until, False)
    found = cli("doctor", REDIS_URL=server.url, **TOKEN, **budget).data
    assert [one["what"] for one in found if one["about"] == "twitter" and one["level"] == "ok"] == []
    monitor.record_request("twitter", cost=0.1)
    assert monitor.flush()
    seen = view(settings_for(server), store)
    (trouble,) = seen.troubles
    assert (source(seen, "twitter").state, trouble.kind, trouble.source) == ("limited", "budget", "twitter")
    assert trouble.what == "twitter has spent its budget for the day ($1.2)"
    assert trouble.until is not None
    assert (trouble.until.hour, trouble.until.minute) == (0, 0)
    assert timedelta(0) < trouble.until - seen.at <= timedelta(days=1)
    assert trouble.since is not None
    assert "raise TBCACHE_TWITTER__DAILY_BUDGET" in trouble.todo
    assert cli("status", "--check", REDIS_URL=server.url).code == 1


def test_a_source_that_code_declares_is_told_of_like_any(store: Store, settings: Settings) -> None:
    """Only exceptions told that its budget was spent, and nobody that two bots went by other limits."""
    monitor = say(store, settings, "client", "bot-1")
    # The first beat of a process may be sooner than its code.
    for name, limits, budget, ttl in (("bot-1", "100/1m", 2.0, 600), ("bot-2", "20/1m", 50.0, 300)):
        said = {"limits": Limit.parse_all(limits), "daily_budget": budget, "cost_per_request": 1.0}
        said["cache_ttl"] = ttl
        declare("alpha-vantage", said, settings)
        (monitor if name == "bot-1" else UsageMonitor(store, settings)).beat("client", started_at=utc_now())
        get_declared().clear()
    say(store, settings, "worker", "worker-1")
    monitor.record_request("alpha-vantage", cost=2.0)
    assert monitor.flush()
    seen = view(settings, store)
    budget, *drift = seen.troubles
    assert (budget.kind, budget.what) == ("budget", "alpha-vantage has spent its budget for the day ($2)")
    # No shell sets a variable with a dash.
    assert "raise TBCACHE_ALPHA_VANTAGE__DAILY_BUDGET" in budget.todo
    assert [(one.kind, one.todo) for one in drift] == [
        ("drift", f"start all with the same TBCACHE_ALPHA_VANTAGE__{what}")
        for what in ("LIMITS", "CACHE_TTL", "DAILY_BUDGET")
    ]
    assert drift[1].what.endswith(
        "300 s, bot-1 600 s), and who has a shorter one loads anew what another has just loaded"
    )
    ours = source(seen, "alpha-vantage")
    assert (ours.state, ours.daily_budget, ours.common, ours.is_served) == ("limited", 2.0, 0, False)
    assert source(seen, "stocktwits").common > 0


def test_words_in_the_place_of_cashtags_are_a_trouble(settings: Settings, store: Store) -> None:
    """Every post with the word ON was read and paid for as one of ON Semiconductor, and nobody knew."""
    monitor = say(store, settings, "worker", "worker-1")
    assert view(settings, store).troubles == ()
    monitor.count("twitter", {"plain": 1})
    assert monitor.flush()
    (trouble,) = view(settings, store).troubles
    assert (trouble.kind, trouble.source) == ("plan", "twitter")
    assert "the plan refuses cashtags" in trouble.what
    assert "TBCACHE_TWITTER__QUERY_FILTER" in trouble.todo


def test_other_budgets_filters_delays_and_symbols_are_told(
    server: Server, settings_for: SettingsFor, store: Store
) -> None:
    """A second worker spends past the budget of the first, or puts other answers under the same keys."""
    news = {"TBCACHE_NEWS__API_KEY": "secret"}
    news |= {f"TBCACHE_REDDIT__CLIENT_{name}": "secret" for name in ("ID", "SECRET")}
    say(
        store,
        settings_for(server, **TOKEN, **news, TBCACHE_TWITTER__DAILY_BUDGET="1.2"),
        "worker",
        "worker-1",
    )
    other = {"TBCACHE_NEWS__DELAY_HOURS": "12", "TBCACHE_TWITTER__QUERY_FILTER": "none"}
    other |= {"TBCACHE_NAMES": "SQ=Block", "TBCACHE_REDDIT__SUBREDDITS": "stocks"}
    other["TBCACHE_NEWS__DOMAINS"] = "ft.com"
    say(store, settings_for(server, **TOKEN, **news, **other), "worker", "worker-2")
    # Who has no credentials spends nothing, and asks nothing.
    say(store, settings_for(server, TBCACHE_TWITTER__DAILY_BUDGET="7"), "client", "bot")
    for name, symbols in (("scheduler-1", "AAPL,MSFT"), ("scheduler-2", "MSFT,AAPL"), ("scheduler-3", "F")):
        say(store, settings_for(server, TBCACHE_COMMON_SYMBOLS=symbols), "scheduler", name)
    seen = view(settings_for(server), store)
    assert {one.todo for one in seen.troubles} == {
        f"start all with the same TBCACHE_{name}"
        for name in (
            "TWITTER__DAILY_BUDGET",
            "TWITTER__QUERY_FILTER",
            "NEWS__DELAY_HOURS",
            "COMMON_SYMBOLS",
            "REDDIT__SUBREDDITS",
            "NAMES, TBCACHE_LANGUAGES and TBCACHE_NEWS__DOMAINS",
        )
    }
    words = next(one for one in seen.troubles if "LANGUAGES" in one.todo)
    assert "other names, languages or sites (worker-1 en, worker-2 en, names " in words.what
    assert ", sites ft.com)" in words.what
    budget = next(one for one in seen.troubles if one.todo.endswith("BUDGET"))
    assert "daily budgets (worker-1 $1.2, worker-2 none)" in budget.what


def test_a_long_trouble_is_shown_to_its_end(settings: Settings, store: Store) -> None:
    """What to do stands last, and was cut off."""
    long = Trouble("x", "it broke " + "x" * 200, "mend it with this command")
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(dashboard(replace(view(settings, store), troubles=(long,)), 400))
    assert "mend it with this command" in console.export_text()


def test_a_trouble_says_since_when(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since the first fetch that failed after one went well, also where that was hours ago."""
    monitor = say(store, settings, "worker", "worker-1")
    began = utc_now() - timedelta(hours=30)
    state = store.keys.state("stocktwits")
    store.client.hset(state, "failing", f"{int(began.timestamp() * 1e6)} 400 auth")
    store.client.expire(state, 60)
    counting(monitor)("auth")
    (trouble,) = view(settings, store).troubles
    assert trouble.since is not None
    assert abs(trouble.since - began) < timedelta(seconds=1)
    last = monitor.get_recent_metrics("stocktwits").last
    assert last is not None
    assert last.count == 401


def test_a_bill_that_nobody_can_read_is_a_trouble(
    server: Server, settings_for: SettingsFor, store: Store
) -> None:
    """It counts as the whole budget, and whoever looks learns which key is to be removed."""
    say(store, settings_for(server, **TOKEN, TBCACHE_TWITTER__DAILY_BUDGET="1.2"), "worker", "worker-1")
    store.client.set(store.keys.usage("twitter", store.clock.today), "x", ex=60)
    (trouble,) = view(settings_for(server), store).troubles
    assert (trouble.kind, trouble.source) == ("budget", "twitter")
    assert trouble.what == (
        "twitter: what the day has cost cannot be read, and counts as all of its budget ($1.2)"
    )
    assert "'*{twitter}:usage:*'" in trouble.todo


def test_the_moment_at_which_a_budget_was_spent_is_kept(
    server: Server, settings_for: SettingsFor, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was the minute of the last bill, of the last hour: of a budget spent in the morning nobody knew."""
    # The day may end while this runs.
    set_today(monkeypatch, utc_now())
    budget = {"TBCACHE_TWITTER__DAILY_BUDGET": "1.2"}
    monitor = say(store, settings_for(server, **TOKEN, **budget), "worker", "worker-1")
    usage = store.keys.usage("twitter", store.clock.today)
    monitor.record_request("twitter", cost=0.4)
    assert monitor.flush()
    assert not any(name.startswith(b"spent_at.") for name in store.client.hkeys(usage))
    monitor.record_request("twitter", cost=0.8)
    assert monitor.flush()
    since = source(view(settings_for(server), store), "twitter").spent_since
    assert since is not None
    assert abs(since - utc_now()) < timedelta(minutes=1)
    (kept,) = [name for name in store.client.hkeys(usage) if name.startswith(b"spent_at.")]
    store.client.hset(usage, kept, int((since - timedelta(hours=5)).timestamp() * 1e6))
    # What is billed after that does not move it.
    monitor.record_request("twitter", cost=1.2)
    assert monitor.flush()
    again = source(view(settings_for(server), store), "twitter").spent_since
    assert again is not None
    assert abs(again - (since - timedelta(hours=5))) < timedelta(seconds=1)


def test_a_closure_of_days_says_since_when_and_until_which_day(
    cli: Cli, server: Server, store: Store, settings: Settings
) -> None:
    """ "until 00:00:00" was said of a closure of five days."""
    say(store, settings, "worker", "worker-1")
    began, until = utc_now() - timedelta(days=2), utc_now() + timedelta(days=5)
    state = store.keys.state("stocktwits")
    moments = {"closed_at": int(began.timestamp() * 1e6), "closed_until": int(until.timestamp() * 1e6)}
    store.client.hset(state, mapping={**moments, "closed_reason": "quota"})
    store.client.expire(state, 60)
    done = cli("status", "--check", REDIS_URL=server.url)
    (line,) = done.out.splitlines()
    assert line.startswith("stocktwits is closed (quota) since ")
    assert f"since {began:%Y-%m-%d %H:%M:%S} until {until:%Y-%m-%d %H:%M:%S} UTC: it opens by itself" in line
    (trouble,) = cli("status", REDIS_URL=server.url).data["troubles"]
    assert (trouble["kind"], trouble["source"]) == ("closed", "stocktwits")
    with local_client(settings) as client:
        (told,) = client.get("/api/monitoring/status").json()["troubles"]
    assert {name: told[name] for name in ("kind", "what", "todo")} == {
        name: trouble[name] for name in ("kind", "what", "todo")
    }
    assert line in cli("status", is_terminal=True, COLUMNS="400").out


def test_check_ends_with_1_where_something_is_wrong_and_else_with_0(
    cli: Cli, server: Server, store: Store, settings: Settings
) -> None:
    """For the health check of a container, and for cron."""
    say(store, settings, "worker", "worker-1")
    well = cli("status", "--check", REDIS_URL=server.url)
    assert (well.code, well.out, well.err) == (0, "", "")
    assert cli("status", "--check", "--json", REDIS_URL=server.url).data["troubles"] == []
    away = cli("status", "--check", REDIS_URL="redis://127.0.0.1:1/0")
    # The same code as every other command's.
    assert (away.code, len(away.out.splitlines()), away.err) == (3, 1, "")
    assert away.out.startswith(
        "Redis is away (connection refused): start it at redis://127.0.0.1:1/0, or set"
    )
    as_json = cli("status", "--check", "--json", REDIS_URL="redis://127.0.0.1:1/0")
    assert (as_json.code, [one["kind"] for one in as_json.data["troubles"]]) == (3, ["redis_away"])


def test_while_redis_is_away_no_figure_is_a_zero(tmp_path: Path) -> None:
    """Zeros look like a quiet day without a bill, and "this shell's settings" like the reason."""
    nowhere = Settings.load({"REDIS_URL": "redis://127.0.0.1:1/0"}, data_dir=tmp_path / "data")
    with closing(Store(nowhere)) as store:
        seen = Fleet(nowhere, store).status()
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(dashboard(seen, 200))
    page = console.export_text()
    (line,) = [line for line in page.splitlines() if line.startswith("stocktwits")]
    assert line.split()[1] == "unknown"
    assert set(line.split()[2:]) == {"-"}
    assert "which processes run is not known until Redis is back" in page
    assert "this shell's" not in page
    with local_client(nowhere) as client:
        for told in client.get("/api/monitoring/status").json()["sources"]:
            assert (told["warm"], told["recent"]) == (None, None)


def test_check_without_any_redis_says_that_none_is_configured(cli: Cli, tmp_path: Path) -> None:
    """It said to have an address answer that is none, and hid that no `tbcache up` runs in this folder."""
    done = cli("--data-dir", str(tmp_path), "status", "--check")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("tbcache: No Redis is configured (REDIS_URL is not set, and no `tbcache up`")
    assert done.err == cli("--data-dir", str(tmp_path), "status").err


def test_a_scheduler_that_is_gone_is_missed_and_one_that_left_is_not(
    store: Store, settings: Settings
) -> None:
    """Nothing else shows that nothing is kept warm; a fleet without any is nobody's mistake."""
    say(store, settings, "worker", "worker-1")
    assert kinds(view(settings, store)) == []
    scheduler = say(store, settings, "scheduler", "scheduler")
    gone_at = become_absent(store, "scheduler", timedelta(hours=5))
    (trouble,) = view(settings, store).troubles
    assert (trouble.kind, trouble.todo) == ("no_scheduler", "start one with `tbcache scheduler`")
    assert trouble.since == gone_at
    scheduler.leave()
    assert kinds(view(settings, store)) == []


def test_bots_that_fetch_by_themselves_need_no_worker(store: Store, settings: Settings) -> None:
    """Until something is queued; between the runs of a bot that cron starts, the alarm went off."""
    assert kinds(view(settings, store)) == []
    bot = say(store, settings, "client", "bot")
    assert kinds(view(settings, store)) == []
    bot.leave()
    assert kinds(view(settings, store)) == []
    Queue(store, settings).enqueue(FetchRequest("stocktwits", "AAPL"))
    (trouble,) = view(settings, store).troubles
    assert (trouble.kind, trouble.what) == ("no_worker", "no worker is running, and queued fetches wait")


@pytest.mark.parametrize("bot", ["client", None])
def test_a_worker_is_missed_where_one_is_gone_or_a_scheduler_needs_one(
    store: Store, settings: Settings, bot: str | None
) -> None:
    """Also while nothing is queued, and beside a bot: what is to be kept warm is not."""
    if bot:
        say(store, settings, bot, "bot")
    scheduler = say(store, settings, "scheduler", "scheduler")
    (trouble,) = view(settings, store).troubles
    assert (trouble.kind, trouble.what) == ("no_worker", "no worker is running")
    scheduler.leave()
    worker = say(store, settings, "worker", "worker-1")
    assert kinds(view(settings, store)) == []
    become_absent(store, "worker-1", timedelta(minutes=5))
    (trouble,) = view(settings, store).troubles
    assert (trouble.kind, trouble.what) == ("no_worker", "no worker is running")
    worker.leave()
    assert kinds(view(settings, store)) == []


def test_a_fleet_that_is_starting_is_no_trouble(
    cli: Cli, server: Server, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first screen said to start a worker, while its own were starting."""
    monkeypatch.setattr(look, "STARTING_SECONDS", 3600.0)
    seen = view(settings, store)
    assert (seen.is_starting, seen.troubles) == (True, ())
    page = cli("status", is_terminal=True, REDIS_URL=server.url).out
    assert "starting: no worker has been heard of yet" in page
    assert "all is well" not in page
    monkeypatch.setattr(snapshot, "facts_of", lambda info: ServerFacts())
    assert not view(settings, store).is_starting
    # Whoever starts it knows, also where the server is an old one; and so does its scheduler.
    assert Fleet(settings, store, started_at=utc_now()).status().is_starting
    say(store, settings, "scheduler", "scheduler")
    assert view(settings, store).is_starting
    say(store, settings, "worker", "worker-1")
    assert not view(settings, store).is_starting


def test_jobs_of_ones_own_that_died_are_a_trouble_and_listed(
    cli: Cli, server: Server, store: Store, settings: Settings
) -> None:
    """Nobody looks for them queue by queue."""
    say(store, settings, "worker", "worker-1")
    Names(store, store.keys.queues).tell("reports")
    bury(store, [("AAPL", "it was the disk", {})], "reports")
    store.client.zadd(store.keys.queue("reports", "dead"), {"job-0": utc_now().timestamp() * 1e6})
    (trouble,) = view(settings, store).troubles
    assert (trouble.kind, trouble.source) == ("dead_letters", None)
    assert trouble.what == "the queue reports: 1 job died: it was the disk"
    (letter,) = json.loads(cli("dead", "--json", REDIS_URL=server.url).out)
    assert (letter["source"], letter["reason"]) == ("reports", "it was the disk")
    (stats,) = cli("queue", "stats", "reports", "--json", REDIS_URL=server.url).data
    assert (stats["name"], stats["queue"]["dead"], stats["is_served"]) == ("reports", 1, False)
    table = cli("queue", "stats", is_terminal=True, COLUMNS="160").out.splitlines()
    assert table[-1].split()[:2] == ["reports", "ok"]


def test_fetches_that_died_are_a_trouble_until_they_are_forgotten(
    cli: Cli, server: Server, store: Store, settings: Settings
) -> None:
    """Somebody waits for each of them, or did."""
    say(store, settings, "worker", "worker-1")
    keys = [store.keys.queue("stocktwits", part) for part in ("dead", "reasons", "dead-jobs")]
    now = utc_now()
    for name, hours in (("long-ago", 30), ("first", 3), ("last", 1)):
        store.client.zadd(keys[0], {name: (now - timedelta(hours=hours)).timestamp() * 1e6})
        store.client.hset(keys[1], name, f"it was the {name}")
    for key in keys[:2]:
        store.client.expire(key, 60)
    (trouble,) = view(settings, store).troubles
    assert trouble.what == "stocktwits: 2 queued fetches died, the last of them as: it was the last"
    assert trouble.since is not None
    assert abs((trouble.since - (now - timedelta(hours=3))).total_seconds()) < 1
    store.client.zrem(keys[0], "first")
    (alone,) = view(settings, store).troubles
    assert alone.what == "stocktwits: 1 queued fetch died: it was the last"
    store.client.zadd(keys[0], {"first": (now - timedelta(hours=3)).timestamp() * 1e6})
    done = cli("dead", "--clear", "stocktwits", REDIS_URL=server.url)
    assert (done.code, done.err) == (0, "tbcache: stocktwits: 3 forgotten\n")
    assert kinds(view(settings, store)) == []
    assert "did you mean 'stocktwits'?" in cli("dead", "--clear", "stocktwit", REDIS_URL=server.url).err


def test_processes_that_were_started_with_other_settings_are_named(
    server: Server, settings_for: SettingsFor, store: Store
) -> None:
    """The strictest limit holds for all, and half of the workers refuse the jobs of a source."""
    say(store, settings_for(server, **TOKEN), "worker", "worker-1")
    say(store, settings_for(server, TBCACHE_REDDIT__LIMITS="5/1m"), "worker", "worker-2")
    seen = view(settings_for(server), store)
    assert kinds(seen) == ["drift", "drift"]
    reddit, twitter = seen.troubles
    assert "reddit: the processes have other limits (worker-2 5/1m, worker-1 60/1m)" in reddit.what
    assert reddit.todo == "start all with the same TBCACHE_REDDIT__LIMITS"
    assert twitter.what == "twitter: worker-2 has no TBCACHE_TWITTER__BEARER_TOKEN, and other workers do"
    # A bot may leave the credentials to the workers.
    say(store, settings_for(server, TBCACHE_REDDIT__LIMITS="60/1m"), "client", "worker-2")
    assert kinds(view(settings_for(server), store)) == []


def test_jobs_that_no_worker_takes_are_told(store: Store, settings: Settings) -> None:
    """Workers are there and idle, and the job waits for days."""
    say(store, settings, "worker", "worker-1", Workload(2, 0, (), ("twitter",)))
    Queue(store, settings).enqueue(FetchRequest("stocktwits", "AAPL"))
    (trouble,) = view(settings, store).troubles
    assert trouble.what == "stocktwits: 1 queued, and no worker takes them"
    say(store, settings, "worker", "worker-2")
    assert kinds(view(settings, store)) == []


def test_many_troubles_leave_room_for_the_page(settings: Settings, store: Store) -> None:
    """The rest is one command away."""
    many = tuple(Trouble("x", f"trouble {number}", "mend it") for number in range(MOST_TROUBLES + 3))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(dashboard(replace(view(settings, store), troubles=many), 100))
    page = console.export_text()
    assert page.count("mend it") == MOST_TROUBLES
    assert "and 3 more: `tbcache status --check` lists all" in page


async def at_noon(source: str) -> float:
    return float(NOON_US)
