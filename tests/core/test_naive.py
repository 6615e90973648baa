"""What whoever remembers nothing would pay, beside the bill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from tbcache.admission import Admission
from tbcache.fetch import Pipeline
from tbcache.fetch.naive import naive_figures
from tbcache.io import utc_now
from tbcache.models import FetchRequest, Item, Page
from tbcache.models.price import Price
from tbcache.settings import Settings, Source
from tbcache.timeline import Read, Record, Scored, Span, Timeline
from tests.core.conftest import TWITTER, Upstream
from tests.server import Server

NOON = utc_now().replace(hour=12, minute=0, second=0, microsecond=0)
START = NOON - timedelta(hours=24)
AAPL = FetchRequest("twitter", "AAPL")
X = replace(TWITTER, price=Price(per_item=0.005, daily_dedupe=True))
EACH = replace(TWITTER, price=Price(per_item=0.005, per_request=0.01))


@pytest.fixture
def settings(server: Server, settings_for: Callable[..., Settings]) -> Settings:
    """On a busy machine a slow answer of Redis is no outage."""
    return settings_for(server, TBCACHE_REDIS_TIMEOUT="10")


def record(count: int, read_at: object = NOON, symbols: tuple[str, ...] = ("AAPL",)) -> Record:
    times = [NOON - timedelta(minutes=n + 1) for n in range(count)]
    items = [Item(f"{n}", at, "up", symbols=symbols, seen_at=NOON) for n, at in enumerate(times)]
    timeline = Timeline.of([Scored(item, 0.5) for item in items], [Read(Span(START, NOON), NOON)])
    return Record(timeline, NOON, read_at, 24, "any/1", None, {})  # type: ignore[arg-type]


def naive(source: Source, known: Record | None, found: Record, *, is_deep: bool = False) -> tuple[int, int]:
    figures = naive_figures(source, replace(AAPL, is_deep=is_deep), known, found, START)
    return figures["naive"], figures["naive_pages"]


def test_it_reads_all_hours_each_time() -> None:
    """250 items are three pages at each TTL, and each reading is billed."""
    assert naive(EACH, record(240), record(250)) == (250 * 5_000 + 3 * 10_000, 3)


def test_what_is_billed_once_a_day_is_billed_once_a_day_there_too() -> None:
    """Whoever compares bills must not make his own look better than it is."""
    assert naive(X, None, record(250)) == (250 * 5_000, 3)
    assert naive(X, record(240), record(250)) == (10 * 5_000, 3)
    yesterday = record(240, NOON - timedelta(days=1))
    assert naive(X, yesterday, record(250)) == (250 * 5_000, 3)
    assert naive(X, None, record(250, symbols=("AAPL", "F"))) == (125 * 5_000, 3)


def test_older_hours_are_no_request_of_its() -> None:
    """It would have read them before."""
    assert naive(X, record(100), record(250), is_deep=True) == (150 * 5_000, 0)
    assert naive(EACH, record(100), record(250), is_deep=True) == (0, 0)


def test_what_is_free_has_no_bill() -> None:
    """Nor figures that somebody would have to count."""
    assert naive_figures(replace(TWITTER, price=Price()), AAPL, None, record(3), START) == {}


@pytest.mark.usefixtures("store")
def test_both_bills_stand_in_the_figures_of_the_last_minutes(
    pipeline: Pipeline, admission: Admission
) -> None:
    """And so in `tbcache status`."""
    page = Page(tuple(Item(f"{n}", utc_now(), "up") for n in range(3)), exhausted=True)
    monitor = admission._monitor
    monitor.mark_minute("twitter")
    pipeline.run(Upstream(X, answer=lambda cursor: page), AAPL)
    monitor.flush()
    recent = monitor.get_recent_metrics("twitter")
    assert (recent.cost, recent.naive_cost, recent.pages, recent.naive_pages) == (0.015, 0.015, 1, 1)
