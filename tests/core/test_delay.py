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
from tests.server import Server

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
