"""Any name is a source: its limit is what the call says, and its figures stand beside the others'."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tbcache import TbcacheWarning, get_rate_limiter, get_usage_monitor
from tbcache.fleet import Fleet
from tbcache.limiter import limiter_of
from tbcache.models.error import InvalidRequest, RateLimited
from tbcache.monitoring import UsageMonitor
from tbcache.settings import Settings
from tbcache.store import Store, get_store
from tbcache.store.name import MOST_NAMES, OTHER, Names
from tests.server import Server, wait_until

WINDOW = {"limit": 2, "window_seconds": 60}
BAD = ["", "a b", "{x}", "x" * 65, "a:b", "-a", "a\n", "é", None, 7]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may answer late, and Redis would be away for a moment."""
    monkeypatch.setenv("TBCACHE_REDIS_TIMEOUT", "10")


@pytest.fixture(params=["redis", "nothing"])
def _fleet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process, with Redis and without any."""
    if request.param == "redis":
        server: Server = request.getfixturevalue("server")
        monkeypatch.setenv("REDIS_URL", server.url)
    yield
    get_usage_monitor().leave()


@pytest.mark.usefixtures("_fleet")
def test_a_name_is_limited_by_what_each_call_says() -> None:
    """The limiter is good for any API, not only for those that are fetched here."""
    limiter = get_rate_limiter("my_source")
    assert limiter is get_rate_limiter("my_source")
    assert [limiter.check_rate_limit(**WINDOW)[0] for _ in range(3)] == [True, True, False]
    assert limiter.get_status(**WINDOW).used == 2
    assert limiter.check_rate_limit(limit=3, window_seconds=60)[0], "each call has a limit of its own"
    with pytest.raises(RateLimited), limiter.slot(**WINDOW, max_wait=0):
        pass
    assert get_rate_limiter("another").check_rate_limit(**WINDOW)[0]


@pytest.mark.usefixtures("_fleet")
def test_a_name_has_figures_like_any_source() -> None:
    """What a bot asks by itself costs as much as what it has fetched."""
    monitor = get_usage_monitor()
    monitor.record_request("my_source", success=True, cached=False, cost=0.25)
    monitor.record_request("my_source", cached=True)
    for _ in ("counted", "sent"):
        mine = monitor.get_source_metrics("my_source")
        assert (mine.requests_today, mine.hits_today, mine.cost_today) == (2, 1, 0.25)
        assert monitor.get_usage_summary()["sources"]["my_source"] == mine
        monitor.flush()
    assert monitor.get_source_metrics("never_seen").requests_today == 0
    assert "never_seen" not in monitor.get_usage_summary()["sources"]


@pytest.mark.usefixtures("_fleet")
@pytest.mark.parametrize("arguments", [{}, {"limit": 5}, {"window_seconds": 60}])
def test_a_call_that_says_no_limit_is_told_so(arguments: dict[str, int]) -> None:
    """There is none that could be meant."""
    limiter = get_rate_limiter("my_source")
    for ask in (limiter.check_rate_limit, limiter.wait_if_needed, limiter.get_status):
        with pytest.raises(InvalidRequest, match=r"my_source is no configured source.*limit=60"):
            ask(**arguments)
    with pytest.raises(InvalidRequest, match="no limits of its own"), limiter.slot(**arguments):
        pass


@pytest.mark.parametrize("ask", [get_rate_limiter, lambda name: get_usage_monitor().record_request(name)])
@pytest.mark.parametrize(
    ("name", "near"), [("twiter", "twitter"), ("Twitter", "twitter"), ("stockwits", "stocktwits")]
)
def test_a_near_miss_is_told_once_and_goes_on(ask: Callable[[str], object], name: str, near: str) -> None:
    """A typo would count in a window and a column of its own, and nobody would see why."""
    said = f"'{name}' is no configured source.*did you mean '{near}'"
    with pytest.warns(TbcacheWarning, match=said) as told:
        ask(name)
    # At the line of whoever wrote it.
    assert [one.filename for one in told] == [__file__]
    assert get_rate_limiter(name).check_rate_limit(**WINDOW)[0]
    get_usage_monitor().record_request(name)


@pytest.mark.parametrize("name", BAD, ids=repr)
def test_a_name_is_checked_before_it_reaches_a_key(name: str) -> None:
    """A brace would put the keys of a source into two slots of a cluster; a long name is a mistake."""
    monitor = get_usage_monitor()
    for ask in (get_rate_limiter, monitor.record_request, monitor.get_source_metrics):
        with pytest.raises(InvalidRequest, match=r"source name .* is not valid: 1-64 letters"):
            ask(name)


def test_a_loop_over_a_million_names_fills_nothing(
    server: Server, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bot that makes a name of each symbol would fill Redis, its own memory and every view."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monitor = get_usage_monitor()
    for number in range(3 * MOST_NAMES):
        monitor.record_request(f"name-{number}")
    for number in range(MOST_NAMES):
        get_rate_limiter(f"name-{number}")
    with pytest.raises(InvalidRequest, match=r"one name too many: .* there may be 100 within a day"):
        get_rate_limiter("one-more")
    assert monitor.flush()
    others = UsageMonitor(store, settings)
    for number in range(MOST_NAMES):
        others.record_request(f"other-{number}")
    assert others.flush()
    shown = others.get_usage_summary()["sources"]
    # Whoever came second to Redis has no place; in the sum is everything.
    assert len([name for name in shown if name.startswith("name-")]) == MOST_NAMES
    assert shown[OTHER].requests_today == 2 * MOST_NAMES + MOST_NAMES
    assert len(list(store.client.scan_iter("*:usage:*"))) == MOST_NAMES + 1
    assert len(list(limiter_of(get_store()).windows)) <= MOST_NAMES


def test_a_fleet_that_has_too_many_names_takes_no_more(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bots that start anew each minute, with other names each time, would fill Redis all the same."""
    monkeypatch.setenv("REDIS_URL", server.url)
    now_us = store.call("TIME")
    now = int(now_us[0]) * 1_000_000
    names = {f"name-{number}": now for number in range(MOST_NAMES)}
    store.client.zadd(store.keys.names, names)
    store.client.expire(store.keys.names, 60)
    limiter = get_rate_limiter("one-more")
    # The minute is over for which this process does not ask again.
    monkeypatch.setattr("tbcache.store.name.TELL_SECONDS", 0.0)
    with pytest.raises(InvalidRequest, match="one name too many"):
        limiter.check_rate_limit(**WINDOW)
    # One that nobody has used for a day makes allowance.
    store.client.zadd(store.keys.names, {"name-7": now - 86_401_000_000})
    assert limiter.check_rate_limit(**WINDOW)[0]
    assert store.client.zscore(store.keys.names, "name-7") is None
    get_usage_monitor().leave()


def test_a_name_that_nobody_uses_for_a_month_is_shown_no_more(
    server: Server, store_for: Callable[..., Store]
) -> None:
    """Also where no other wants its place: its figures are gone by then."""
    store = store_for(server, TBCACHE_REDIS_TIMEOUT="10")
    seconds, _ = store.client.time()
    ages = {"used": 30, "forgotten": 32}
    store.client.zadd(
        store.keys.names, {name: (seconds - days * 86_400) * 1e6 for name, days in ages.items()}
    )
    assert Names(store).tell("new")
    assert store.client.zrange(store.keys.names, 0, -1) == [b"used", b"new"]


def test_a_name_without_a_place_is_asked_about_once_a_minute(server: Server, store: Store) -> None:
    """Each job of a queue that found none cost one more call, for ever."""
    now = int(store.call("TIME")[0]) * 1_000_000
    store.client.zadd(store.keys.names, {f"name-{number}": now for number in range(MOST_NAMES)})
    store.client.expire(store.keys.names, 60)
    names = Names(store)
    before = server.calls("evalsha")
    assert not any(names.tell("one-more") for _ in range(5))
    assert server.calls("evalsha") - before <= 2


def test_a_name_has_a_share_while_redis_is_away(
    private_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is promised of a limit holds for one that only a call has said."""
    monkeypatch.setenv("REDIS_URL", private_server.url)
    limiter = get_rate_limiter("my_source")
    assert limiter.check_rate_limit(**WINDOW)[0]
    window = limiter_of(get_store()).process_window("my_source")
    assert window.is_member
    private_server.kill()
    wait_until(lambda: limiter.check_rate_limit(**WINDOW)[1].reason)
    assert limiter.get_status(**WINDOW).used <= WINDOW["limit"]
    assert not limiter.check_rate_limit(**WINDOW)[0]
    get_usage_monitor().leave()


def test_a_name_stands_in_the_status(
    server: Server, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its limit, as it was said, and its figures."""
    monkeypatch.setenv("REDIS_URL", server.url)
    assert get_rate_limiter("my_source").check_rate_limit(**WINDOW)[0]
    get_usage_monitor().record_request("my_source", cost=0.5)
    assert get_usage_monitor().flush()
    shown = Fleet(settings, store).status().sources[-1]
    assert [(one.limit, one.used) for one in shown.limits] == [("2/1m", 1)]
    assert (shown.name, shown.state, shown.common, shown.difference) == ("my_source", "ok", 0, None)
    assert (shown.usage.cost_today, shown.recent.cost) == (0.5, 0.5)
    get_usage_monitor().leave()
