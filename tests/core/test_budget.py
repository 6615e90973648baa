"""The daily budget while Redis is away from one process, or from all: no more is spent than it allows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tbcache.admission import Go, Grant, Settlement, Wait, billed
from tbcache.fetch import Pipeline
from tbcache.io import utc_now
from tbcache.limiter import limiter_of
from tbcache.limiter.purse import Purse
from tbcache.limiter.script import FILL, Fill
from tbcache.models import FetchRequest, Limit
from tbcache.models.caller import caller
from tbcache.models.error import BudgetExhausted
from tbcache.models.price import Price
from tbcache.monitoring import UsageMonitor, recorder
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.store.count import BILL_ONCE, BillOnce
from tbcache.store.wire import day_of
from tests.blocking import Admission, core
from tests.core.conftest import TWITTER, Upstream, ask
from tests.proxy import Proxy
from tests.server import Server, wait_until
from tests.today import set_today

#: Ten pages a day.
SOURCE = replace(
    TWITTER, limits=(Limit(1000, 60.0),), price=Price(per_request=0.01), daily_budget=0.10, stale_ttl=0.0
)
PAGE_COST = 10_000
#: Of symbols, whichever process asks for them.
NUMBERS = itertools.count()


class Spender:
    """One process of the fleet, as far as a test's own can be several."""

    def __init__(self, variables: dict[str, str]) -> None:
        # An answer that a busy machine loses in time would be paid twice; and each return waits as long.
        settings = Settings.load({**variables, "TBCACHE_REDIS_TIMEOUT": "3"})
        self.store = Store(settings)
        self.monitor = UsageMonitor(self.store, settings)
        self.admission = Admission(self.store, settings, self.monitor)

    def join(self) -> None:
        """Become a member, and beat from now on."""
        self.admission._shared.preparation.constants_of(SOURCE)
        limiter_of(self.store).process_window("twitter").must_announce(can_fall_back=True)
        self.monitor._presence._membership.start()

    def take(self, name: str | None = None) -> Grant | Wait:
        """A slot for a page of a symbol that nobody has."""
        wanted = msgspec.structs.replace(ask(f"S{next(NUMBERS)}", SOURCE), caller=name)
        verdict = self.admission.admit(wanted)
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

    def read(self, *posts: str, name: str | None = None) -> None:
        """Read a page of ``posts``, which are billed once a day, in the name of a caller."""
        grant = self.take(name)
        assert isinstance(grant, Grant)
        price = Price(per_item=PAGE_COST / 1e6, daily_dedupe=True)
        self.admission.settle(grant, Settlement(payload=b"1", pages=1, bill=price.bill(posts)))

    @property
    def purse(self) -> int | None:
        purse = limiter_of(self.store).process_window("twitter").purse
        return purse.left(day_of(self.store.clock.today))

    def end(self) -> None:
        self.monitor._presence._membership.stop()
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
    return int(
        server.client.hget(spender.store.keys.usage("twitter", spender.store.clock.today), "spent") or 0
    )


def silence(server: Server, near: Spender, far: Spender) -> None:
    """Wait until Redis takes ``far`` for absent, and keeps its part from ``near``."""
    key = near.store.keys.fleet("twitter")

    def is_overdue() -> bool:
        seconds, micros = server.client.time()
        last_seen_at = server.client.zscore(key, limiter_of(far.store).member)
        return last_seen_at is not None and last_seen_at < seconds * 1e6 + micros - 500_000

    wait_until(is_overdue)


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


def test_a_post_is_billed_once_with_redis_and_without(
    server: Server, proxy: Proxy, join: Callable[..., Spender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream bills it once a day, whoever reads it, and whether Redis is there or not."""
    # The day may end while this runs.
    set_today(monkeypatch, utc_now())
    monkeypatch.setattr(recorder, "MOST_BILLED", 2)
    near, far = join(), join(proxy)
    wait_until(lambda: near.purse == far.purse == 5 * PAGE_COST)
    near.read("0", "1")
    proxy.refuse()
    far.read("1", "2", "3")
    far.read("2", "3")
    assert limiter_of(far.store).process_window("twitter").purse.paid == 3 * PAGE_COST
    # As far as it knows: what the others have read is told only by Redis.
    assert far.monitor.get_source_metrics("twitter").cost_today == pytest.approx(0.03)
    near.read("2", "4")
    proxy.mend()
    wait_until(lambda: far.store.is_available)
    assert spent(server, near) == 5 * PAGE_COST
    near.read("3", "4")
    far.read("1", "2")
    far.read("3")
    assert spent(server, near) == 5 * PAGE_COST
    assert near.monitor.get_source_metrics("twitter").cost_today == pytest.approx(0.05)
    # What is told twice, as the first answer was lost, is billed once.
    keys, today = near.store.keys, near.store.clock.today
    names = keys.usage("twitter", today), keys.wake("twitter", "batch-1.0"), keys.billed("twitter", today)
    bills = [BillOnce(*names, "w", 0, (post, PAGE_COST)) for post in ("5", "6")]
    assert [near.store.run(BILL_ONCE, bill) for bill in bills] == [True, False]
    assert spent(server, near) == 6 * PAGE_COST


def test_what_a_load_costs_is_its_callers_who_began_it(
    server: Server, proxy: Proxy, join: Callable[..., Spender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Redis and without; of what is billed once a day no process counts a post twice."""
    set_today(monkeypatch, utc_now())
    spender = join(proxy)
    wait_until(lambda: spender.purse == 10 * PAGE_COST)
    spender.read("1", "2", name="desk")
    spender.read("2", "3", name="bot")
    proxy.refuse()
    spender.read("1", "4", name="bot")
    proxy.mend()
    wait_until(lambda: spender.store.is_available)
    spender.monitor.flush()
    found = spender.monitor.get_caller_metrics("twitter")
    costs = {name: round(one.cost_most, 6) for name, one in found.items()}
    assert costs == {"desk": 2 * PAGE_COST / 1e6, "bot": 2 * PAGE_COST / 1e6}
    paid = spender.monitor.symbol_costs.read("twitter", [utc_now()])
    assert (sum(paid.values()), len(paid)) == (4 * PAGE_COST, 3)
    assert spent(server, spender) == 4 * PAGE_COST


def test_a_refresh_in_the_background_is_paid_by_who_was_given_the_old_answer(
    server: Server, join: Callable[..., Spender]
) -> None:
    """It would be nobody's: the process' own."""
    spender = join()
    pipeline, source = Pipeline(core(spender.admission)), replace(SOURCE, cache_ttl=0.01, stale_ttl=60.0)
    request = FetchRequest("twitter", f"S{next(NUMBERS)}")

    def is_stale() -> bool:
        with caller("desk"):
            return pipeline.run(Upstream(source), request, patience=0).origin == "stale"

    pipeline.run(Upstream(source), request)
    wait_until(is_stale)
    pipeline.close()
    spender.monitor.flush()
    desk = spender.monitor.get_caller_metrics("twitter")["desk"]
    assert (desk.stale >= 1, desk.cost_most > 0) == (True, True)


def test_more_posts_than_are_kept_for_redis_count_as_new(
    server: Server, proxy: Proxy, join: Callable[..., Spender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long Redis is away a process stays small, and what it pays is never too little."""
    set_today(monkeypatch, utc_now())
    monkeypatch.setattr(recorder, "MOST_OWED", 3)
    spender = join(proxy)
    wait_until(lambda: spender.purse == 10 * PAGE_COST)
    proxy.refuse()
    spender.read("1", "2")
    spender.read("3", "4")
    proxy.mend()
    wait_until(lambda: spender.store.is_available)
    assert spent(server, spender) == 4 * PAGE_COST


def test_what_was_read_is_remembered_for_its_day_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next day everything is billed again, and a process that reads for days stays small."""
    monkeypatch.setattr(billed, "MOST_IDS", 2)
    seen, bill = billed.Billed(), Price(per_item=1.0, daily_dedupe=True).bill
    assert seen.due("twitter", 1, "a", bill(["1", "2"])).most == 2
    assert seen.due("twitter", 1, "a", bill(["2", "3"])).most == 1
    assert seen.due("twitter", 1, "a", bill(["2"])).most == 1
    assert seen.due("twitter", 2, "a", bill(["2"])).most == 1


def test_one_that_was_told_of_no_money_spends_none(proxy: Proxy) -> None:
    """It cannot know what the others have spent today: it says so, and asks nothing of the upstream."""
    proxy.refuse()
    spender, upstream = Spender({"REDIS_URL": proxy.url}), Upstream(SOURCE)
    with pytest.raises(BudgetExhausted, match="what is left of the day's budget is not known to this"):
        Pipeline(core(spender.admission)).run(upstream, FetchRequest("twitter", "AAPL"), patience=0.0)
    assert upstream.sent == []
    spender.end()


def test_without_redis_the_whole_budget_is_ones_own_and_is_spent_for_the_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is away then: who was told to come again in 5 s waited for what comes at midnight."""
    set_today(monkeypatch, datetime(2030, 5, 6, 18, tzinfo=UTC))
    spender = Spender({})
    assert spender.spend() == 10
    refused = spender.take()
    assert isinstance(refused, Wait)
    assert refused.reason == "the day's budget has no room for a page ($0.01)"
    assert refused.retry_at - utc_now() > timedelta(hours=5)
    assert refused.seconds > 5 * 3600
    spender.end()


def test_all_of_a_fleet_together_spend_no_more_than_what_was_left(
    proxy: Proxy, join: Callable[..., Spender]
) -> None:
    """Redis is away from everybody: each has its part."""
    fleet = [join(proxy) for _ in range(2)]
    wait_until(lambda: all(spender.purse == 5 * PAGE_COST for spender in fleet))
    proxy.refuse()
    assert [spender.spend() for spender in fleet] == [5, 5]


def cut_off_one(server: Server, proxy: Proxy, join: Callable[..., Spender]) -> tuple[Spender, Spender]:
    """Two with a purse each; the second is cut off, and counts as absent."""
    near, far = join(), join(proxy)
    wait_until(lambda: near.purse == far.purse == 5 * PAGE_COST)
    proxy.refuse()
    silence(server, near, far)
    return near, far


def test_what_one_that_is_cut_off_may_spend_is_kept_for_it(
    server: Server, proxy: Proxy, join: Callable[..., Spender]
) -> None:
    """Neither knows what the other does."""
    near, far = cut_off_one(server, proxy, join)
    assert (near.spend(), far.spend()) == (5, 5)
    proxy.mend()
    wait_until(lambda: spent(server, near) == 10 * PAGE_COST)
    verdict = near.take()
    assert isinstance(verdict, Wait)
    assert verdict.reason == "the day's budget is spent"
    assert far.spend() == 0


def test_a_damaged_purse_of_one_that_is_cut_off_is_its_share(
    server: Server, proxy: Proxy, join: Callable[..., Spender]
) -> None:
    """The others spent what it spends as well."""
    near, far = cut_off_one(server, proxy, join)
    today = near.store.clock.today
    server.client.hset(near.store.keys.purses("twitter", today), limiter_of(far.store).member, "nan")
    assert (near.spend(), far.spend()) == (5, 5)


def test_what_a_dead_one_may_have_spent_is_kept_for_the_day(
    server: Server, proxy: Proxy, join: Callable[..., Spender]
) -> None:
    """It went on without Redis and was killed: what it spent nobody will ever tell."""
    near, far = join(), join(proxy)
    wait_until(lambda: near.purse == far.purse == 5 * PAGE_COST)
    proxy.refuse()
    far.store.close()
    server.client.zrem(near.store.keys.fleet("twitter"), limiter_of(far.store).member)
    assert near.spend() == 5


def test_one_that_leaves_in_order_gives_its_part_back(join: Callable[..., Spender]) -> None:
    """The others may spend the whole again."""
    near, far = join(), join()
    wait_until(lambda: near.purse == far.purse == 5 * PAGE_COST)
    far.monitor._presence._membership.stop()
    # What it had is another's by then.
    assert far.purse is None
    assert near.spend() == 10


def test_a_purse_that_cannot_be_noted_is_not_given(server: Server, join: Callable[..., Spender]) -> None:
    """The others would spend the same money, should Redis go."""
    spender = join()
    wait_until(lambda: spender.purse == 10 * PAGE_COST)
    # A day may begin at any moment.
    wait_until(lambda: server.client.set(purses(spender), "junk", ex=60) and spender.purse == 0)
    wait_until(lambda: server.client.delete(purses(spender)) >= 0 and spender.purse == 10 * PAGE_COST)


def test_of_an_empty_purse_there_is_no_note(server: Server, join: Callable[..., Spender]) -> None:
    """What it says is kept from the others, should this process become absent, and they could spend less."""
    spender = join()
    wait_until(lambda: server.client.exists(purses(spender)))
    wait_until(lambda: spender.spend() < 20 and spender.purse == 0)
    wait_until(lambda: spender.spend() < 20 and not server.client.exists(purses(spender)))


def test_all_purses_together_are_never_more_than_what_is_left(
    server: Server, store_for: Callable[..., Store]
) -> None:
    """One who has just come is told a share of it, while the others still go by all of it."""
    store = store_for(server, TBCACHE_REDIS_TIMEOUT="10")
    keys, today = store.keys, store.clock.today
    ask = Fill(
        limiter_of(store).window_keys("twitter"),
        keys.usage("twitter", today),
        keys.purses("twitter", today),
        process="newcomer",
        budget=10 * PAGE_COST,
        slot_price=PAGE_COST,
        going_by=0,
    )
    store.client.hset(keys.state("twitter"), "share:newcomer", "0.5")
    store.client.hset(ask.purses, "other", 8 * PAGE_COST)
    for name in (keys.state("twitter"), ask.purses):
        store.client.expire(name, 60)
    assert store.run(FILL, ask) == 2 * PAGE_COST
    store.client.hset(ask.purses, "other", 4 * PAGE_COST)
    assert store.run(FILL, ask) == 5 * PAGE_COST


def purses(spender: Spender) -> str:
    return spender.store.keys.purses("twitter", spender.store.clock.today)


def test_past_midnight_nobody_knows_of_money_without_redis(
    proxy: Proxy, join: Callable[..., Spender], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left of yesterday's is not today's, and what the others spend today is not known."""
    spender = join(proxy)
    wait_until(lambda: spender.purse == 10 * PAGE_COST)
    proxy.refuse()
    assert spender.spend(1) == 1
    tomorrow = spender.store.clock.today + timedelta(days=1)
    set_today(monkeypatch, tomorrow)
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


def test_a_bill_counts_where_it_cannot_be_kept_what_was_billed_before(
    server: Server, join: Callable[..., Spender]
) -> None:
    """A key of another type would turn the budget off, and the money be spent unseen."""
    spender = join()
    wait_until(lambda: spender.purse == 10 * PAGE_COST)
    billed = spender.store.keys.billed("twitter", spender.store.clock.today)
    server.client.set(billed, "x", ex=60)
    spender.read("1", "2")
    assert spent(server, spender) >= 2 * PAGE_COST


def test_a_bill_that_is_damaged_is_made_anew_of_what_each_has_paid(
    server: Server, join: Callable[..., Spender]
) -> None:
    """It counted as nothing, for the whole day: the budget was spent without end, and nobody was told."""
    spender = join()
    assert spender.spend(4) == 4
    usage = spender.store.keys.usage("twitter", spender.store.clock.today)
    server.client.hset(usage, "spent", "nan")
    assert spender.spend() == 6
    assert spent(server, spender) == 10 * PAGE_COST


def test_a_bill_that_nobody_can_read_counts_as_the_whole_budget(
    server: Server, join: Callable[..., Spender]
) -> None:
    """Whatever the day has cost is lost with it."""
    spender = join()
    assert spender.spend(1) == 1
    server.client.set(spender.store.keys.usage("twitter", spender.store.clock.today), "x", ex=60)
    wait = spender.take()
    assert isinstance(wait, Wait)
    assert (wait.why, wait.reason) == (
        "budget",
        "what the day has cost cannot be read, and counts as all of its budget",
    )
    wait_until(lambda: spender.purse == 0)


def test_a_damaged_purse_of_one_without_a_share_is_none(server: Server, join: Callable[..., Spender]) -> None:
    """One without end stopped all others for the day; and a share below none would be spent by them."""
    spender = join()
    purses = {"gone-1": "1e300", "gone-2": 5 * PAGE_COST, "gone-3": "x"}
    server.client.hset(spender.store.keys.purses("twitter", spender.store.clock.today), mapping=purses)
    damaged = {"silence:gone-2": "nan", "share:gone-3": "-1e9"}
    server.client.hset(spender.store.keys.state("twitter"), mapping=damaged)
    assert spender.spend() == 5
