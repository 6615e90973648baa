"""A plan whose items come late: what is known to be empty is not asked for, and a better plan is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler import Prewarm
from tbcache.admission import delay as delay_module
from tbcache.cli.dashboard import delays
from tbcache.fetch import Pipeline
from tbcache.fleet import Fleet
from tbcache.models import FetchRequest, HttpRequest, Item, Limit, Page
from tbcache.models.error import UpstreamUnavailable
from tbcache.monitoring import UsageMonitor
from tbcache.queue import Queue
from tbcache.settings import Settings, get_sources
from tbcache.store import Store
from tests.blocking import Admission, core
from tests.core.conftest import TWITTER, Kept, Upstream, item
from tests.server import Server, sending, sent_here

#: As NewsAPI is at its default.
SOURCE = replace(TWITTER, name="news", delay_hours=24.0, pages=1, stale_ttl=0.0, max_hours=720)


@dataclass
class News(Upstream):
    """Knows articles of these ages (hours), and answers with those within the asked time."""

    source: object = SOURCE  # type: ignore[assignment]
    ages: tuple[float, ...] = ()
    asked: list[int] = field(default_factory=list)

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        self.asked.append(fetch.hours)
        found = [_aged(hours, fetch.now(since)) for hours in self.ages if hours <= fetch.hours]
        self.answer = lambda _: Page(tuple(found), exhausted=True)
        return super().request(fetch, cursor, since)


def _aged(hours: float, now: datetime) -> Item:
    return item(f"article-{hours}", now - timedelta(hours=hours))


#: What a free plan has, and a paid one; of a symbol that is seldom written of.
LATE, PROMPT, RARE = tuple(24.5 + n for n in range(10)), tuple(1.0 + 3 * n for n in range(20)), (30.0, 40.0)


def ask(symbol: str = "AAPL", hours: int = 24) -> FetchRequest:
    return FetchRequest("news", symbol, hours)


@pytest.fixture
def delay(admission: Admission) -> Any:
    return admission.delay


def used(store: Store) -> int:
    return int(store.client.zcard(store.keys.slots("news")))


def test_what_lies_in_the_plans_delay_is_asked_for_twice_a_day(pipeline: Pipeline, store: Store) -> None:
    """2,880 requests a day would come back empty by construction; the answer says why it has nothing."""
    free = News(replace(SOURCE, limits=(Limit(2, 60.0),)), ages=LATE)
    for symbol, known in (("AAPL", "delay"), ("AAPL", "unknown"), ("MSFT", "delay"), ("TSLA", "delay")):
        # No slot is left for any but the first two.
        outcome = pipeline.run(free, ask(symbol), patience=0.0)
        assert (outcome.sentiment.reason, outcome.sentiment.score) == (f"plan_{known}", None)
        assert (outcome.complete, outcome.covered_hours) == (False, 0.0)
    # Further back than the delay: so the asks show what came before.
    assert free.asked == [48, 48]
    assert used(store) == 2


def test_what_reaches_beyond_the_delay_is_asked_for(pipeline: Pipeline) -> None:
    """Of two days a late plan has one."""
    free = News(ages=LATE)
    outcomes = [pipeline.run(free, ask("AAPL", hours)) for hours in (24, 48, 72)]
    # More hours take two requests: for the news, and for what is older.
    assert free.asked == [48, 48, 72, 72]
    assert [outcome.sentiment.count for outcome in outcomes] == [0, 10, 10]


def test_a_plan_without_a_delay_is_noticed_at_the_first_ask(pipeline: Pipeline) -> None:
    """Left at the default it must not be judged empty; and a calm symbol is calm there."""
    paid = News(ages=PROMPT)
    outcome = pipeline.run(paid, ask("AAPL"))
    assert (outcome.complete, outcome.sentiment.count) == (True, sum(age <= 24 for age in PROMPT))
    paid.ages = ()
    outcome = pipeline.run(paid, ask("MSFT"))
    assert (outcome.complete, outcome.sentiment.count) == (True, 0)
    assert paid.asked == [48, 24]


def test_what_one_process_learned_all_know(
    pipeline: Pipeline, server: Server, store_for: Callable[..., Store], settings: Settings
) -> None:
    """A fleet of ten must not spend ten requests a day to find out."""
    pipeline.run(News(ages=LATE), ask("AAPL"))
    store = store_for(server)
    admission, free = Admission(store, settings, UsageMonitor(store, settings)), News(ages=LATE)
    other = Pipeline(core(admission), lambda: Kept())  # type: ignore[arg-type, return-value]
    for symbol in ("AAPL", "MSFT", "TSLA"):
        other.run(free, ask(symbol))
    assert free.asked == [48]


def test_while_one_finds_out_the_others_do_not_ask(pipeline: Pipeline, delay: Any) -> None:
    """Ten common symbols that are due at once are one request."""
    assert delay.reach(SOURCE, ask("MSFT")) is not None
    free = News(ages=LATE)
    # Nobody knows yet that they come late.
    assert pipeline.run(free, ask("AAPL")).sentiment.reason == "plan_unknown"
    assert free.asked == []


def test_too_few_articles_settle_nothing_for_the_day(pipeline: Pipeline, store: Store, delay: Any) -> None:
    """A symbol that is seldom written of has none of today on any plan."""
    pipeline.run(News(ages=RARE), ask("AAPL"))
    assert not delay.why_shut(SOURCE, ask("MSFT"))
    pipeline.run(News(ages=LATE), ask("MSFT"))
    assert not delay.why_shut(SOURCE, ask("TSLA"))
    pipeline.run(News(ages=LATE), ask("TSLA"))
    assert store.client.pttl(store.keys.delay("news")) / 1000 > delay_module.UNSURE_SECONDS


@pytest.mark.parametrize("ages", [tuple(30.0 + n for n in range(6)), tuple(24.5 + n for n in range(6)), ()])
def test_a_symbol_without_news_of_late_shuts_no_other(
    pipeline: Pipeline, delay: Any, ages: tuple[float, ...]
) -> None:
    """On a paid plan all others would be answered with nothing, unasked, for a day."""
    paid = News(ages=ages)
    assert pipeline.run(paid, ask("TINY")).sentiment.reason == "plan_delay"
    paid.ages = PROMPT
    assert pipeline.run(paid, ask("AAPL")).complete
    assert pipeline.run(paid, ask("MSFT")).complete
    assert paid.asked == [48, 48, 24]


def test_symbols_without_news_are_not_asked_without_end(pipeline: Pipeline) -> None:
    """On a free plan each would cost one of the hundred requests of the day, every few minutes."""
    quiet = News()
    for n in range(10):
        pipeline.run(quiet, ask(f"NIL{n}"))
    assert len(quiet.asked) == delay_module.MOST_ASKED


def test_an_article_of_tomorrow_does_not_show_a_plan_without_a_delay(pipeline: Pipeline, delay: Any) -> None:
    """One wrong date would make every empty answer of a late plan a complete one, for a day."""
    for symbol in ("ODD", "AAPL"):
        pipeline.run(News(ages=(-3.0, *LATE)), ask(symbol, 48))
    assert delay.why_shut(SOURCE, ask("MSFT"))


def test_others_find_out_where_an_ask_has_failed(pipeline: Pipeline) -> None:
    """They would be answered with nothing for a minute, though nothing is known."""
    broken, paid = Upstream(SOURCE, _refuse), News(ages=PROMPT)
    with pytest.raises(UpstreamUnavailable):
        pipeline.run(broken, ask("AAPL"))
    assert pipeline.run(paid, ask("MSFT")).complete


def _refuse(cursor: str | None) -> Page:
    raise UpstreamUnavailable("news", "no answer", status=500)


def test_a_plan_that_was_changed_is_noticed_by_the_next_answer(pipeline: Pipeline, delay: Any) -> None:
    """Whoever pays gets the news of today with the first request that shows them, and the reverse."""
    pipeline.run(News(ages=LATE), ask("AAPL"))
    pipeline.run(News(ages=PROMPT), ask("AAPL", 72))
    assert not delay.why_shut(SOURCE, ask("MSFT"))
    for symbol in ("TSLA", "AMD"):
        pipeline.run(News(ages=LATE), ask(symbol, 72))
    assert delay.why_shut(SOURCE, ask("MSFT"))


def test_without_redis_each_process_learns_it_by_itself(settings: Settings) -> None:
    """And asks no more often."""
    bare = Settings.load({})
    store = Store(bare)
    admission = Admission(store, bare, UsageMonitor(store, bare))
    pipeline, free = Pipeline(core(admission), lambda: Kept()), News(ages=LATE)  # type: ignore[arg-type, return-value]
    for symbol in ("AAPL", "MSFT", "TSLA"):
        assert pipeline.run(free, ask(symbol)).sentiment.reason == "plan_delay"
    assert free.asked == [48, 48]
    store.close()


def test_a_slot_that_the_queue_holds_for_it_is_given_back(
    pipeline: Pipeline, store: Store, delay: Any
) -> None:
    """The job needs none."""
    delay._record("news", delay_module.LATE, 60.0)
    store.client.zadd(store.keys.slots("news"), {"job/1": 4e15})
    store.client.expire(store.keys.slots("news"), 60)
    assert pipeline.run(News(), ask("AAPL"), slot="job/1").sentiment.reason == "plan_delay"
    assert used(store) == 0


def test_what_the_plan_has_too_late_is_not_kept_warm_nor_called_so(
    store: Store, server: Server, settings_for: Callable[..., Settings], delay: Any
) -> None:
    """Ten empty answers are not ten warm ones."""
    settings = settings_for(
        server, TBCACHE_NEWS__API_KEY="k", TBCACHE_COMMON_SYMBOLS="AAPL,MSFT", TBCACHE_COMMON_HOURS="24"
    )
    news = get_sources(settings)["news"]
    queue = Queue(store, settings)
    prewarm = Prewarm(store, queue, settings, UsageMonitor(store, settings))
    delay._record("news", delay_module.LATE, 60.0)
    assert "news" not in {due.request.source for due in prewarm.due()}
    prewarm.run(0)
    assert queue.depth("news").waiting == 0
    status = Fleet(settings, store).status()
    (found,) = (source for source in status.sources if source.name == "news")
    assert (found.warm, found.common, found.delay_hours) == (0, 0, news.delay_hours)
    (line,) = delays(status)
    assert line == "news: its plan's items come 24 h late, too late to be kept warm"


def test_items_at_the_very_edge_of_the_delay_show_nothing(delay: Any) -> None:
    """Clocks differ: a late plan's newest may look some minutes younger than it is."""
    now = datetime.now(UTC)
    assert delay.reach(SOURCE, ask()) is not None
    delay.learn(SOURCE, ask(hours=48), [_aged(23.9, now), *(_aged(25.0 + n, now) for n in range(9))], now)
    assert delay.why_shut(SOURCE, ask())


def test_a_symbol_that_nobody_asked_to_find_out_is_no_sign_of_none(delay: Any, store: Store) -> None:
    """Symbols of which little is written are asked for three days all the time, on a paid plan as well."""
    for number in range(2 * delay_module.MOST_ASKED):
        learn(delay, f"NIL{number}", RARE)
    assert store.client.get(store.keys.delay("news")) is None


@pytest.mark.parametrize("ages", [tuple(30.0 + n for n in range(9)), LATE[: delay_module.ENOUGH - 1]])
def test_what_may_be_an_accident_is_no_sign(delay: Any, ages: tuple[float, ...]) -> None:
    """Neither a break of some hours before the delay, nor a few articles that end there."""
    for symbol in ("AAPL", "MSFT", "TSLA"):
        learn(delay, symbol, ages)
    assert delay.why_shut(SOURCE, ask("AMD")) is None


def test_two_symbols_of_as_many_articles_as_are_no_accident_settle_it(delay: Any, store: Store) -> None:
    """And a further one does not bring it into doubt again."""
    for symbol in ("AAPL", "MSFT", "TSLA"):
        learn(delay, symbol, LATE[: delay_module.ENOUGH])
    assert store.client.get(store.keys.delay("news")) == delay_module.LATE


def test_what_quiet_symbols_seem_to_show_holds_for_an_hour(delay: Any, store: Store) -> None:
    """For a day a paid plan would give nothing of today."""
    for number in range(delay_module.MOST_ASKED):
        assert delay.reach(SOURCE, ask(f"NIL{number}")) is not None
        learn(delay, f"NIL{number}", ())
    assert delay.why_shut(SOURCE, ask("AAPL")) == "plan_delay"
    assert store.client.pttl(store.keys.delay("news")) <= delay_module.UNSURE_SECONDS * 1000


def test_no_more_hours_are_asked_for_than_the_plan_has(delay: Any) -> None:
    """Its upstream would refuse them."""
    assert delay.reach(replace(SOURCE, max_hours=30), ask()).request.hours == 30


def test_a_finding_is_used_for_some_seconds_and_then_read_again(
    delay: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for with each request; and another process may know better by now."""
    delay._record("news", delay_module.LATE, 60.0)
    with sending() as sent:
        assert delay.why_shut(SOURCE, ask()) == "plan_delay"
    assert sent_here(sent) == []
    monkeypatch.setattr(delay_module, "LOOK_SECONDS", 0.0)
    delay._known.clear()
    assert delay.why_shut(SOURCE, ask()) == "plan_delay"
    store.client.set(store.keys.delay("news"), delay_module.PROMPT, px=60_000)
    assert delay.why_shut(SOURCE, ask()) is None


@pytest.mark.parametrize("is_own", [True, False])
def test_a_doubt_is_read_again_each_time(delay: Any, store: Store, is_own: bool) -> None:
    """Another may settle it at any moment."""
    doubt = delay_module.DOUBT + b":AAPL"
    if is_own:
        delay._record("news", doubt, 60.0)
    else:
        store.client.set(store.keys.delay("news"), doubt, px=60_000)
    assert delay.why_shut(SOURCE, ask()) == "plan_unknown"
    store.client.set(store.keys.delay("news"), delay_module.PROMPT, px=60_000)
    assert delay.why_shut(SOURCE, ask()) is None


def test_what_is_no_finding_shuts_nothing(delay: Any, store: Store) -> None:
    """As where something else was written there."""
    store.client.set(store.keys.delay("news"), b"junk", px=60_000)
    assert delay.why_shut(SOURCE, ask()) is None


def test_a_finding_that_is_over_counts_no_more_without_redis(delay: Any, store: Store) -> None:
    """Nobody could tell that the plan was changed; and one that still holds does so."""
    delay._record("news", delay_module.DOUBT + b":AAPL", 60.0)
    store.breaker.reason = "away"
    assert delay.why_shut(SOURCE, ask()) == "plan_unknown"
    delay._record("news", delay_module.DOUBT + b":MSFT", 0.0)
    assert delay.why_shut(SOURCE, ask("MSFT")) is None


def test_who_finds_out_without_redis_has_a_minute_for_it(
    delay: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other threads ask nothing meanwhile; and where nothing came of it, one of them may."""
    store.breaker.reason = "away"
    assert delay.reach(SOURCE, ask("AAPL")) is not None
    assert delay.reach(SOURCE, ask("MSFT")) is None
    assert not delay._begin("news", None)
    monkeypatch.setattr(delay_module, "ASKING_SECONDS", 0.0)
    delay._known.clear()
    assert delay.reach(SOURCE, ask("AAPL")) is not None
    assert delay.reach(SOURCE, ask("MSFT")) is not None


@pytest.mark.parametrize("settled", [delay_module.LATE, delay_module.PROMPT])
def test_what_is_settled_as_another_begins_to_find_out_stays_so(
    delay: Any, store: Store, settled: bytes
) -> None:
    """He has read the doubt before that."""
    store.client.set(store.keys.delay("news"), settled, px=60_000)
    assert not delay._begin("news", delay_module.DOUBT + b":AAPL")
    assert store.client.get(store.keys.delay("news")) == settled


def test_a_doubt_that_has_come_to_its_end_hinders_nobody(delay: Any) -> None:
    """Right between the look at it and the ask."""
    assert delay._begin("news", delay_module.DOUBT + b":AAPL")


def test_only_who_finds_out_gives_up(delay: Any, store: Store) -> None:
    """Where any other request fails, what is known stays known."""
    delay._record("news", delay_module.LATE, 60.0)
    delay.give_up(SOURCE)
    assert store.client.get(store.keys.delay("news")) == delay_module.LATE


def test_who_gives_up_leaves_what_others_have_found(delay: Any, store: Store) -> None:
    """Or each failure would have the fleet begin anew, with a request that brings nothing."""
    doubt = delay_module.DOUBT + b":MSFT!"
    delay._record("news", doubt, 60.0)
    assert delay.reach(SOURCE, ask("AAPL")) is not None
    delay.give_up(SOURCE)
    assert store.client.get(store.keys.delay("news")) == doubt
    assert store.client.pttl(store.keys.delay("news")) <= delay_module.UNSURE_SECONDS * 1000


def test_an_answer_of_the_delay_alone_shows_nothing(delay: Any, store: Store) -> None:
    """It is empty on a late plan, and of a quiet symbol."""
    assert delay.reach(SOURCE, ask("AAPL")) is not None
    delay.learn(SOURCE, ask("MSFT", 24), [], datetime.now(UTC))
    assert store.client.get(store.keys.delay("news")) == delay_module.ASKING


def test_a_finding_that_stays_the_same_is_written_once_an_hour(
    delay: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer shows it; and it must not come to its end meanwhile."""

    def learned() -> int:
        with sending() as sent:
            learn(delay, "AAPL", PROMPT)
        return sent_here(sent).count("SET")

    assert (learned(), learned()) == (1, 0)
    store.client.set(store.keys.delay("news"), delay_module.LATE, px=60_000)
    delay._known.clear()
    assert delay.why_shut(SOURCE, ask()) == "plan_delay"
    assert learned() == 1
    monkeypatch.setattr(delay_module, "RENEW_SECONDS", 0.0)
    assert learned() == 1


def learn(delay: Any, symbol: str, ages: tuple[float, ...]) -> None:
    """From an answer that reaches back three days."""
    now = datetime.now(UTC)
    delay.learn(SOURCE, ask(symbol, 72), [_aged(age, now) for age in ages], now)
