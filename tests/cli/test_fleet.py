"""What the status says of sources, limits and the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from tbcache.fleet import Fleet, FleetStatus, SourceStatus
from tbcache.io import utc_now
from tbcache.models import FetchRequest
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.rate_limiter import RateLimiter
from tbcache.settings import Settings, get_source
from tbcache.store import Store
from tbcache.store.envelope import seal
from tbcache.store.name import Names
from tbcache.store.wire import to_time
from tests.cli.command import Done
from tests.job import message
from tests.server import Server, wait_until

SettingsFor = Callable[..., Settings]


#: A message that asks for a fetch of what is no ticker.
BAD_TICKER = b'{"kwargs": {"symbol": "no ticker at all", "hours": 24}}'


def look(settings: Settings, store: Store) -> FleetStatus:
    return Fleet(settings, store).status()


def source(status: FleetStatus, name: str) -> SourceStatus:
    return next(one for one in status.sources if one.name == name)


def test_warm_counts_common_symbols_whose_answer_is_fresh(settings: Settings, store: Store) -> None:
    """A stale answer is no warm one: the next ask would have to fetch."""
    now_us = time.time_ns() // 1000
    for symbol, fresh_us in (
        ("AAPL", now_us + 60_000_000),
        ("MSFT", now_us - 1),
        ("ZZZZ", now_us + 60_000_000),
    ):
        entry = store.keys.entry(f"stocktwits:{symbol}:24")
        store.client.set(entry, seal(b"null", fresh_us), ex=60)
    stocktwits = source(look(settings, store), "stocktwits")
    assert (stocktwits.warm, stocktwits.common) == (1, 10)


def test_a_source_without_slots_is_limited_and_says_until_when(settings: Settings, store: Store) -> None:
    """`limited` is our own doing and passes by itself; the operator must see when."""
    limiter = RateLimiter(get_source("stocktwits", settings), store)
    while limiter.check_rate_limit()[0]:
        pass
    stocktwits = source(look(settings, store), "stocktwits")
    assert stocktwits.state == "limited"
    (limit,) = stocktwits.limits
    assert (limit.used, limit.remaining) == (60, 0)
    assert limit.reset_at is not None
    assert 50 < (limit.reset_at - utc_now()).total_seconds() <= 60


def test_a_source_that_the_upstream_closed_says_why(settings: Settings, store: Store) -> None:
    """`closed` is the upstream's word, and waiting is all that helps."""
    until_us = time.time_ns() // 1000 + 90_000_000
    state = store.keys.state("stocktwits")
    store.client.hset(state, mapping={"closed_until": until_us, "closed_reason": "quota"})
    store.client.expire(state, 60)
    UsageMonitor(store, settings).beat("worker", started_at=utc_now())
    status = look(settings, store)
    assert (source(status, "stocktwits").state, source(status, "stocktwits").closed_reason) == (
        "closed",
        "quota",
    )
    (trouble,) = status.troubles
    assert (trouble.kind, trouble.source, trouble.since) == ("closed", "stocktwits", None)
    assert trouble.until == to_time(until_us)
    assert "`tbcache limits reopen stocktwits`" in trouble.todo


def test_a_source_that_is_off_names_its_variables(settings: Settings, store: Store) -> None:
    """Nothing else tells a new user why four of five sources stand still."""
    reddit = source(look(settings, store), "reddit")
    assert reddit.state == "off"
    assert reddit.missing == ("TBCACHE_REDDIT__CLIENT_ID", "TBCACHE_REDDIT__CLIENT_SECRET")


def test_the_queue_and_the_figures_are_those_of_the_source(settings: Settings, store: Store) -> None:
    """What waits and what was asked are the first two questions of whoever waits."""
    Queue(store, settings).enqueue(FetchRequest("stocktwits", "AAPL"))
    monitor = UsageMonitor(store, settings)
    monitor.record_request("stocktwits", cached=True)
    monitor.flush()
    stocktwits = source(look(settings, store), "stocktwits")
    assert stocktwits.queue.interactive == 1
    assert stocktwits.usage.hits_today == 1


def test_a_look_costs_few_commands(settings: Settings, store: Store, server: Server) -> None:
    """The page looks twice a second; the server has better things to do."""
    fleet = Fleet(settings, store)
    fleet.status()
    before = server.commands()
    fleet.status()
    # 10 symbols and a state, 5 parts of a queue, what of it may go, figures and limits of 5 sources.
    assert server.commands() - before < 220


def test_without_redis_the_status_says_so_and_comes_back(
    private_server: Server, settings_for: SettingsFor, store_for: Callable[..., Store]
) -> None:
    """`up` goes on showing the page through an outage."""
    settings = settings_for(private_server)
    fleet = Fleet(settings, store_for(private_server))
    assert fleet.status().server.is_available
    private_server.kill()
    status = fleet.status()
    assert not status.server.is_available
    assert source(status, "stocktwits").state == "unknown"
    (trouble,) = status.troubles
    assert (trouble.kind, trouble.what[:13]) == ("redis_away", "Redis is away")
    # Whoever was there when it went knows since when.
    assert trouble.since is not None
    assert fleet.status().troubles[0].since == trouble.since
    private_server.start()
    wait_until(lambda: fleet.status().server.is_available)


def test_the_limits_shown_are_the_fleets_and_a_shell_with_others_is_told_so(
    server: Server, settings_for: SettingsFor, store_for: Callable[..., Store], cli: Callable[..., Done]
) -> None:
    """A page that shows 60 where the fleet goes by 5 would have somebody look for the fault elsewhere."""
    strict = settings_for(server, TBCACHE_REDDIT__LIMITS="5/1m")
    worker = store_for(server, TBCACHE_REDDIT__LIMITS="5/1m")
    monitor = UsageMonitor(worker, strict)
    monitor.keep_beating("worker")
    assert RateLimiter(get_source("reddit", strict), worker).check_rate_limit()[0]
    here = source(look(settings_for(server), store_for(server)), "reddit")
    (limit,) = here.limits
    assert (limit.limit, limit.count, limit.used is not None and limit.used >= 1) == ("5/1m", 5, True)
    assert here.difference == "reddit: this shell says 60/1m, the fleet goes by 5/1m"
    assert source(look(strict, worker), "reddit").difference is None
    limits = cli("limits", REDIS_URL=server.url)
    assert limits.err == f"tbcache: {here.difference}\n"
    reddit = limits.data["sources"]["reddit"]
    assert ([one["limit"] for one in reddit["limits"]], reddit["configured"]) == (["5/1m"], ["60/1m"])
    page = cli("status", is_terminal=True, REDIS_URL=server.url, COLUMNS="160").out
    assert here.difference in page
    nowhere = {f"TBCACHE_REDDIT__{name}_URL": "http://127.0.0.1:1" for name in ("BASE", "AUTH")}
    own = {"TBCACHE_REDDIT__CLIENT_ID": "x", "TBCACHE_REDDIT__CLIENT_SECRET": "secret", **nowhere}
    assert here.difference in cli("fetch", "reddit", "GME", REDIS_URL=server.url, **own).err
    # Where an operator has set them, this shell is not at fault; and of another source nothing is said.
    cli("limits", "set", "reddit", "4/1m", "--by", "hal", "--why", "shared", REDIS_URL=server.url)
    said = "reddit: in force is 4/1m, as hal has set (shared); the settings say 60/1m"
    assert said in cli("fetch", "reddit", "AMC", REDIS_URL=server.url, **own).err
    assert cli("limits", "show", "stocktwits", REDIS_URL=server.url).err == ""
    monitor.leave()


def test_no_password_in_an_address_is_shown(server: Server, cli: Callable[..., Done]) -> None:
    """The API shows the same to anyone of its machine, and a status is pasted into tickets."""
    secret = {"TBCACHE_STOCKTWITS__BASE_URL": "http://me:hush-hush@127.0.0.1:1/x"}
    done = cli("status", REDIS_URL=server.url, **secret)
    assert "hush-hush" not in done.out + done.err
    (found,) = (one for one in done.data["sources"] if one["name"] == "stocktwits")
    assert found["base_url"] == "http://127.0.0.1:1/x"


def test_what_is_left_to_others_is_told_apart_from_what_was_sent(
    server: Server, settings: Settings, store: Store, cli: Callable[..., Done]
) -> None:
    """After a refusal a hundred were used of two requests, and nothing said whose the others were."""
    RateLimiter(get_source("stocktwits", settings), store).check_rate_limit(cost=2)
    next_at = int((time.time() + 60) * 1e6)
    learned = {"learned:60000000": 20, "learned_next:60000000": next_at}
    store.client.hset(store.keys.state("stocktwits"), mapping=learned)
    found = cli("limits", "show", "stocktwits", REDIS_URL=server.url).data["sources"]
    (limit,) = found["stocktwits"]["limits"]
    assert (limit["used"], limit["left_to_others"], limit["remaining"]) == (22, 20, 38)
    shown = cli("limits", "show", "stocktwits", is_terminal=True, REDIS_URL=server.url, COLUMNS="80").out
    assert shown.split()[:6] == ["source", "state", "limit", "used", "others", "left"]
    assert "60/1m    22      20    38" in shown


def test_a_closure_is_lifted_by_hand_and_every_slot_stays(
    server: Server, settings: Settings, store: Store, cli: Callable[..., Done]
) -> None:
    """Credit was bought: to forget the window as well would break the limit."""
    RateLimiter(get_source("stocktwits", settings), store).check_rate_limit(cost=7)
    until = utc_now() + timedelta(days=20)
    state = store.keys.state("stocktwits")
    reason = "m" * 200 + " (it named 2100-01-01 00:00 UTC, later than its limits can mean)"
    store.client.hset(state, mapping={"closed_until": int(until.timestamp() * 1e6), "closed_reason": reason})
    page = cli("limits", is_terminal=True, REDIS_URL=server.url, COLUMNS="80").out
    # Until when is what one looks for: it is not cut.
    assert f"{until:%Y-%m-%d}" in page
    assert f"{until:%H:%M:%S}" in page
    assert "later than its limits can mean" in cli("status", REDIS_URL=server.url).out
    done = cli("limits", "--reopen", "stocktwits", REDIS_URL=server.url)
    assert (done.code, done.err) == (0, "tbcache: stocktwits is open again\n")
    found = done.data["sources"]["stocktwits"]
    assert (found["closed_until"], found["limits"][0]["used"]) == (None, 7)
    again = cli("limits", "--reopen", "stocktwits", REDIS_URL=server.url)
    assert again.err == "tbcache: stocktwits was not closed\n"
    assert "did you mean 'stocktwits'?" in cli("limits", "--reopen", "stocktwit", REDIS_URL=server.url).err


def test_a_source_that_only_others_know_is_opened_by_hand_as_well(
    server: Server, store: Store, cli: Callable[..., Done]
) -> None:
    """Its closure is a trouble, and the page says that this command ends it."""
    Names(store).tell("alphavantage")
    until = utc_now() + timedelta(hours=1)
    state = store.keys.state("alphavantage")
    store.client.hset(state, mapping={"closed_until": int(until.timestamp() * 1e6), "closed_reason": "no"})
    store.client.expire(state, 60)
    assert "limits reopen alphavantage" in cli("status", "--check", REDIS_URL=server.url).out
    done = cli("limits", "--reopen", "alphavantage", REDIS_URL=server.url)
    assert (done.code, done.err) == (0, "tbcache: alphavantage is open again\n")


def test_what_died_of_a_source_that_only_others_know_is_listed_and_forgotten(
    server: Server, store: Store, cli: Callable[..., Done]
) -> None:
    """Each of them is a trouble, and the page says that these commands list and end it."""
    Names(store).tell("alphavantage")
    dead, reasons = (store.keys.queue("alphavantage", part) for part in ("dead", "reasons"))
    store.client.zadd(dead, {"id": utc_now().timestamp() * 1e6})
    store.client.hset(reasons, "id", "no actor takes it")
    for key in (dead, reasons):
        store.client.expire(key, 60)
    assert "dead purge alphavantage" in cli("status", "--check", REDIS_URL=server.url).out
    (letter,) = cli("dead", REDIS_URL=server.url).data
    assert (letter["source"], letter["reason"]) == ("alphavantage", "no actor takes it")
    done = cli("dead", "--clear", "alphavantage", REDIS_URL=server.url)
    assert (done.code, done.err, done.data) == (0, "tbcache: alphavantage: 1 forgotten\n", [])


def test_what_died_is_queued_again_where_it_can_be_read(
    server: Server, settings: Settings, store: Store, cli: Callable[..., Done]
) -> None:
    """The upstream is back, or the worker is mended, and somebody still wants the answer."""
    asked = message(FetchRequest("stocktwits", "GME", 12), "prewarm").encode()
    dead, jobs = (store.keys.queue("stocktwits", part) for part in ("dead", "dead-jobs"))
    texts = {
        "sound": asked,
        "damaged": b"{",
        "of another": b'{"kwargs": {"user": 1}}',
        "no ticker": BAD_TICKER,
    }
    store.client.hset(jobs, mapping=texts)  # type: ignore[arg-type]
    store.client.zadd(dead, dict.fromkeys(texts, utc_now().timestamp() * 1e6))
    for key in (dead, jobs):
        store.client.expire(key, 60)
    done = cli("dead", "--retry", "stocktwits", REDIS_URL=server.url)
    assert (done.code, done.err) == (0, "tbcache: stocktwits: 1 queued again; 3 cannot be, and stay dead\n")
    assert {letter["job_id"] for letter in done.data} == {"damaged", "of another", "no ticker"}
    assert store.client.hkeys(jobs).count(b"sound") == 0
    assert (Queue(store, settings).depth("stocktwits").prewarm, len(done.data)) == (1, 3)
    again = Queue(store, settings).enqueue(FetchRequest("stocktwits", "GME", 12), "prewarm")
    assert not again.is_new
    assert "did you mean 'stocktwits'?" in cli("dead", "--retry", "stocktwit", REDIS_URL=server.url).err
