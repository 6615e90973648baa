"""Older items for the database: what is written down as read was read, and a refusal is said at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tbcache.fetch import Pipeline
from tbcache.fetch.backfill import Filled, fill, fill_all, reachable
from tbcache.io import run
from tbcache.models import FetchRequest, Page
from tbcache.models.error import BudgetExhausted, InvalidRequest, UpstreamNotEntitled
from tbcache.models.price import Price
from tbcache.monitoring import UsageMonitor
from tbcache.repository import SentimentRepository
from tbcache.settings import Settings
from tbcache.store import Store
from tbcache.timeline import Span
from tests.blocking import Admission, core
from tests.core.conftest import TWITTER, Upstream, item

NOW = datetime(2026, 7, 28, 12, tzinfo=UTC)
#: A page before is there for a moment, and then asked for again.
PATIENCE = 20.0


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[SentimentRepository]:
    made = SentimentRepository(f"sqlite:///{tmp_path / 'db'}")
    yield made
    made.close()


@dataclass
class Kept(Upstream):
    """An upstream with a database."""

    repository: SentimentRepository = None  # type: ignore[assignment]


async def unasked(hole: Span) -> Filled:
    pytest.fail("nothing is missing")


def ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def test_the_oldest_that_a_source_can_answer_is_no_error() -> None:
    """`--since 7d` is a moment more than a week ago by the time that it is looked at."""
    week = NOW - timedelta(hours=168)
    assert reachable(week - timedelta(seconds=2), NOW, TWITTER) == week
    with pytest.raises(InvalidRequest, match=r"the most is 168 hours: since 2026-07-21 12:00:00 UTC"):
        reachable(week - timedelta(hours=1), NOW, TWITTER)
    with pytest.raises(InvalidRequest, match="still to come"):
        reachable(NOW + timedelta(seconds=1), NOW, TWITTER)


def test_what_a_late_plan_gave_is_in_the_database(
    pipeline: Pipeline, repository: SentimentRepository
) -> None:
    """The oldest day of a plan whose items come a day late was fetched, thrown away, and noted as read."""
    source = replace(TWITTER, delay_hours=24.0, max_hours=168)
    upstream = Kept(source, repository=repository)
    upstream.answer = lambda cursor: Page((item("1", ago(2)), item("2", ago(2.9))), exhausted=True)
    request, hole = FetchRequest("twitter", "AAPL", 72), Span(ago(3), ago(1))
    run(fill(pipeline, upstream, request, hole, PATIENCE))
    assert len(repository.oldest("twitter", "AAPL", ago(4), 10)) == 2
    assert run(fill_all(upstream, request, ago(2.95), ago(1), unasked)) is None


def test_what_came_of_late_is_not_called_known(repository: SentimentRepository) -> None:
    """It is left to the next fetch, and nothing was looked at."""
    now, upstream = datetime.now(UTC), Kept(repository=repository)
    since = now - timedelta(minutes=30)
    request = FetchRequest("twitter", "AAPL", 1)
    assert run(fill_all(upstream, request, since, now, unasked)) == "recent"


def test_a_page_before_does_not_stand_in_for_one_that_is_refused(
    pipeline: Pipeline, repository: SentimentRepository
) -> None:
    """A backfill whose budget was spent waited for an hour without a word."""
    upstream = Kept(replace(TWITTER, price=Price(per_request=1.0), daily_budget=2.0), repository=repository)
    request, hole = FetchRequest("twitter", "AAPL", 72), Span(ago(3), ago(1))
    run(fill(pipeline, upstream, request, hole, PATIENCE))
    with pytest.raises(BudgetExhausted):
        run(fill(pipeline, upstream, request, hole, PATIENCE))


def test_a_backfill_leaves_the_other_half_of_the_budget_to_bots(
    pipeline: Pipeline, repository: SentimentRepository
) -> None:
    """One on X spent all of it, and live bots were refused until midnight."""
    leaves_half(pipeline, repository)


def test_a_backfill_leaves_half_of_the_budget_without_redis_too(repository: SentimentRepository) -> None:
    """A bot beside it goes by the same sum of what the day has cost."""
    settings = Settings.load({})
    store = Store(settings)
    pipeline = Pipeline(core(Admission(store, settings, UsageMonitor(store, settings))), lambda: None)  # type: ignore[arg-type, return-value]
    leaves_half(pipeline, repository)
    pipeline.close()
    store.close()


def leaves_half(pipeline: Pipeline, repository: SentimentRepository) -> None:
    upstream = Kept(replace(TWITTER, price=Price(per_request=1.0), daily_budget=4.0), repository=repository)
    request = FetchRequest("twitter", "AAPL", 72)
    for days in (1, 2):
        run(fill(pipeline, upstream, request, Span(ago(days + 1), ago(days)), PATIENCE))
    half = r"may take 50% of a day's budget \(TBCACHE_TWITTER__DEEPENING_SHARE"
    with pytest.raises(BudgetExhausted, match=half):
        run(fill(pipeline, upstream, request, Span(ago(4), ago(3)), PATIENCE))
    for symbol in ("TSLA", "NVDA"):
        assert pipeline.run(upstream, FetchRequest("twitter", symbol)).origin == "live"


def test_a_refusal_of_the_upstream_after_a_page_is_said(
    pipeline: Pipeline, repository: SentimentRepository
) -> None:
    """It was taken for another process that fetches the same."""
    upstream = Kept(repository=repository)
    request, hole = FetchRequest("twitter", "AAPL", 72), Span(ago(3), ago(1))
    run(fill(pipeline, upstream, request, hole, PATIENCE))

    def refuse(cursor: str | None) -> Page:
        raise UpstreamNotEntitled("twitter", "not for this plan", status=403)

    upstream.answer = refuse
    for _ in range(2):
        with pytest.raises(UpstreamNotEntitled):
            run(fill(pipeline, upstream, request, hole, PATIENCE))
