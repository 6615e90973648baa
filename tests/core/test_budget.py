"""The daily budget while Redis is away from one process, or from all: no more is spent than it allows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tbcache.admission import Admission, Go, Grant, Settlement, Wait, billed
from tbcache.errors import BudgetExhausted
from tbcache.models import FetchRequest, Limit
from tbcache.monitoring import UsageMonitor
from tbcache.pipeline import Pipeline
from tbcache.price import Price
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.purse import Purse
from tbcache.store.wire import day_of
from tests.core.conftest import TWITTER, Upstream, ask
from tests.proxy import Proxy
from tests.server import Server, wait_until

#: Ten pages a day.
SOURCE = replace(
    TWITTER, limits=(Limit(1000, 60.0),), price=Price(per_request=0.01), daily_budget=0.10, stale_ttl=0.0
)
PAGE_COST = 10_000


class Spender:
    """One process of the fleet, as far as a test's own can be several."""

    def __init__(self, variables: dict[str, str]) -> None:
        # An answer that a busy machine loses in time would be paid twice.
        settings = Settings.load({**variables, "TBCACHE_REDIS_TIMEOUT": "10"})
        self.store = Store(settings)
        self.monitor = UsageMonitor(self.store, settings)
        self.admission = Admission(self.store, settings, self.monitor)
        self._symbols = (f"S{number}" for number in itertools.count())

    def join(self) -> None:
        """Become a member, and beat from now on."""
        self.admission._plan(SOURCE)
        self.store.own("twitter").begins_alone(is_alone=True)
        self.monitor._membership.start()

    def take(self) -> Grant | Wait:
        """A slot for a page of a symbol that nobody has."""
        verdict = self.admission.admit(ask(next(self._symbols), SOURCE))
        assert isinstance(verdict, Go | Wait)
        return verdict.grant if isinstance(verdict, Go) else verdict

    def spend(self, most: int = 20) -> int:
        """How many pages it reads until it may read no more."""
        for number in range(most):
            grant = self.take()
            if isinstance(grant, Wait):
                assert grant.why == "budget"
                return number
            self.admission.settle(grant, Settlement(payload=b"1", pages=1, bill=SOURCE.price.bill([])))
        return most

    @property
    def purse(self) -> int | None:
        purse = self.store.own("twitter").purse
        return purse.left(day_of(self.store.today))

    def end(self) -> None:
        self.monitor._membership.stop()
        self.monitor.flush()
        self.store.close()


@pytest.fixture
def join(server: Server) -> Iterator[Callable[..., Spender]]:
    """Processes that share the budget: ``join()``, ``join(proxy)``."""
    fleet: list[Spender] = []

    def start(way: Server | Proxy = server) -> Spender:
        fleet.append(Spender({"REDIS_URL": way.url}))
        fleet[-1].join()
        return fleet[-1]

    yield start
    for spender in fleet:
        spender.end()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port).start()
    yield proxy
    proxy.close()


def spent(server: Server, spender: Spender) -> int:
    return int(server.client.hget(spender.store.keys.usage("twitter", spender.store.today), "spent") or 0)


def silence(server: Server, near: Spender, far: Spender) -> None:
    """Wait until Redis takes ``far`` for silent, and keeps its part from ``near``."""
    key = near.store.keys.fleet("twitter")

    def is_silent() -> bool:
        seconds, micros = server.client.time()
        heard_at = server.client.zscore(key, far.store.member)
        return heard_at is not None and heard_at < seconds * 1e6 + micros - 500_000

    wait_until(is_silent)


def test_spending_stops_at_the_budget_while_redis_is_away(
    server: Server, proxy: Proxy, join: Callable[..., Spender]
) -> None:
    """A day's money is not more because the server that counts it is gone; and its return tells of it."""
    spender = join(proxy)
    wait_until(lambda: spender.purse == 10 * PAGE_COST)
    assert spender.spend(3) == 3
    proxy.refuse()
    assert spender.spend() == 7
    proxy.mend()
    wait_until(lambda: spender.store.is_available)
    assert spent(server, spender) == 10 * PAGE_COST
    assert spender.spend() == 0


def test_what_this_process_has_read_is_billed_once_a_day_without_redis(
    server: Server, proxy: Proxy, join: Callable[..., Spender]
) -> None:
    """The upstream bills a post once a day; reading it again while Redis is away is no new money."""
    spender, price = join(proxy), Price(per_item=0.01, daily_dedupe=True)
    wait_until(lambda: spender.purse == 10 * PAGE_COST)

    def read(*posts: str) -> None:
        grant = spender.take()
        assert isinstance(grant, Grant)
        spender.admission.settle(grant, Settlement(payload=b"1", pages=1, bill=price.bill(posts)))

    read("1", "2")
    proxy.refuse()
    read("2", "3")
    read("2", "3")
    assert spender.store.own("twitter").purse.paid == 3 * PAGE_COST
    proxy.mend()
    wait_until(lambda: spender.store.is_available)
    assert spent(server, spender) == 3 * PAGE_COST


def test_what_was_read_is_remembered_for_its_day_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next day everything is billed again, and a process that reads for days stays small."""
    monkeypatch.setattr(billed, "MOST_IDS", 2)
    seen, bill = billed.Billed(), Price(per_item=1.0, daily_dedupe=True).bill
    assert seen.due("twitter", 1, bill(["1", "2"])) == 2
    assert seen.due("twitter", 1, bill(["2", "3"])) == 1
    assert seen.due("twitter", 1, bill(["2"])) == 1
    assert seen.due("twitter", 2, bill(["2"])) == 1


def test_one_that_was_told_of_no_money_spends_none(proxy: Proxy) -> None:
    """It cannot know what the others have spent today: it says so, and asks nothing of the upstream."""
    proxy.refuse()
    spender, upstream = Spender({"REDIS_URL": proxy.url}), Upstream(SOURCE)
    with pytest.raises(BudgetExhausted, match="what is left of the day's budget is not known to this"):
        Pipeline(spender.admission).run(upstream, FetchRequest("twitter", "AAPL"), patience=0.0)
    assert upstream.sent == []
    spender.end()


def test_all_of_a_fleet_together_spend_no_more_than_what_was_left(
    proxy: Proxy, join: Callable[..., Spender]
) -> None:
    """Redis is away from everybody: each has its part."""
    fleet = [join(proxy) for _ in range(2)]
    wait_until(lambda: all(spender.purse == 5 * PAGE_COST for spender in fleet))
    proxy.refuse()
    assert [spender.spend() for spender in fleet] == [5, 5]


def test_what_one_that_is_cut_off_may_spend_is_kept_for_it(
    server: Server, proxy: Proxy, join: Callable[..., Spender]
) -> None:
    """Neither knows what the other does."""
    near, far = join(), join(proxy)
    wait_until(lambda: near.purse == far.purse == 5 * PAGE_COST)
    proxy.refuse()
    silence(server, near, far)
    assert (near.spend(), far.spend()) == (5, 5)
    proxy.mend()
    wait_until(lambda: spent(server, near) == 10 * PAGE_COST)
    verdict = near.take()
    assert isinstance(verdict, Wait)
    assert verdict.reason == "the day's budget is spent"
    assert far.spend() == 0


def test_what_a_dead_one_may_have_spent_is_kept_for_the_day(
    server: Server, proxy: Proxy, join: Callable[..., Spender]
) -> None:
    """It went on without Redis and was killed: what it spent nobody will ever tell."""
    near, far = join(), join(proxy)
    wait_until(lambda: near.purse == far.purse == 5 * PAGE_COST)
    proxy.refuse()
    far.store.close()
    server.client.zrem(near.store.keys.fleet("twitter"), far.store.member)
    assert near.spend() == 5


def test_one_that_leaves_in_order_gives_its_part_back(join: Callable[..., Spender]) -> None:
    """The others may spend the whole again."""
    near, far = join(), join()
    wait_until(lambda: near.purse == far.purse == 5 * PAGE_COST)
    far.monitor._membership.stop()
    assert near.spend() == 10


def test_past_midnight_nobody_knows_of_money_without_redis(
    proxy: Proxy, join: Callable[..., Spender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left of yesterday's is not today's, and what the others spend today is not known."""
    spender = join(proxy)
    wait_until(lambda: spender.purse == 10 * PAGE_COST)
    proxy.refuse()
    assert spender.spend(1) == 1
    tomorrow = spender.store.today + timedelta(days=1)
    monkeypatch.setattr(Store, "today", property(lambda store: tomorrow))
    assert spender.spend() == 0


def test_pages_under_way_count_as_paid(proxy: Proxy, join: Callable[..., Spender]) -> None:
    """However many threads ask at once, and however many pages an answer has."""
    spender = join(proxy)
    wait_until(lambda: spender.purse == 10 * PAGE_COST)
    assert spender.spend(8) == 8
    proxy.refuse()
    first, second, third = spender.take(), spender.take(), spender.take()
    assert isinstance(first, Grant)
    assert isinstance(second, Grant)
    assert isinstance(third, Wait)
    turned = spender.admission.turn(first, SOURCE.price.bill([]))
    assert isinstance(turned, Wait)
    assert turned.why == "budget"


def test_without_any_redis_a_process_keeps_the_budget_itself() -> None:
    """No address is configured, and nobody else spends."""
    spender = Spender({})
    assert spender.spend() == 10
    spender.end()


def test_a_purse_counts_what_was_paid_while_it_was_asked_for() -> None:
    """What Redis did not know of when it answered comes off."""
    purse = Purse()
    purse.pay(5)
    asked_at = purse.paid
    purse.pay(2)
    purse.receive(10, 1, asked_at)
    assert (purse.left(1), purse.left(2)) == (8, None)
    purse.renew()
    assert purse.left(1) is None
