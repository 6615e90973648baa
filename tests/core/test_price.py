"""The price rule: posts and users, here and in the simulator."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from starlette.testclient import TestClient

from tbcache.embedded.simulator import DEMO_CREDENTIALS
from tbcache.embedded.simulator.app import create_app
from tbcache.fetch import Pipeline
from tbcache.io import utc_now
from tbcache.models import FetchRequest, HttpRequest, Page, RawResponse
from tbcache.models.error import (
    UpstreamError,
    UpstreamPayloadError,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from tbcache.models.price import Price
from tbcache.providers.twitter import TwitterProvider
from tbcache.settings import Settings
from tbcache.store import Store
from tests.core.conftest import TWITTER, Upstream, item
from tests.today import set_today


def test_a_price_list_bills_requests_items_and_users() -> None:
    """Whatever an answer holds is billed, asked for or not."""
    price = Price(per_request=1.0, per_item=0.1, per_user=0.01)
    assert price.bill(["1", "2", "2"], ["5"]).most == pytest.approx(1.31)


def test_what_is_billed_once_a_day_is_due_once() -> None:
    """A user is none of the posts, whatever its number."""
    price, billed = Price(per_item=0.005, per_user=0.010, daily_dedupe=True), set[str]()
    assert price.bill(["1", "2"], ["1"]).due(billed) == pytest.approx(0.020)
    assert price.bill(["1", "3"], ["1"]).due(billed) == pytest.approx(0.005)


def test_a_page_may_cost_what_its_posts_and_users_do() -> None:
    """The budget keeps so much free for each request under way."""
    assert Price(per_item=0.005, per_user=0.010).per_page == pytest.approx(0.5)
    assert Price(per_item=0.005, per_user=0.010, page_users=100).per_page == pytest.approx(1.5)


def test_the_users_of_an_answer_are_billed_to_its_source(pipeline: Pipeline) -> None:
    """A source of one's own may have both, and its budget must know."""
    source = replace(TWITTER, price=Price(per_item=0.005, per_user=0.010))
    upstream = Upstream(source, answer=lambda cursor: Page((item("1"),), users=("5", "6")))
    pipeline.run(upstream, FetchRequest("twitter", "AAPL"))
    assert pipeline.admission._monitor.get_source_metrics("twitter").cost_today == pytest.approx(0.025)


AAPL = FetchRequest("twitter", "AAPL")


def test_what_redis_has_lost_is_paid_for_anew_by_callers_as_well(pipeline: Pipeline, store: Store) -> None:
    """The bill of the day counts it anew; what callers had paid "at most" was less than what was spent."""
    source = replace(TWITTER, price=Price(per_item=0.005, daily_dedupe=True))
    upstream = Upstream(source, answer=lambda cursor: Page((item("1"), item("2"))))
    monitor = pipeline.admission._monitor
    for _ in range(2):
        pipeline.run(upstream, AAPL)
        monitor.callers.flush()
        (caller,) = monitor.get_caller_metrics("twitter").values()
        assert caller.cost_most == monitor.get_source_metrics("twitter").cost_today == pytest.approx(0.01)
        store.client.flushall()


@pytest.fixture(autouse=True)
def _one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day may end while a test runs, and with it the day's bill."""
    set_today(monkeypatch, utc_now())


def unanswered() -> UpstreamError:
    error = UpstreamUnavailable("twitter", "the answer stalled")
    error.is_unanswered = True
    return error


def cut_off() -> UpstreamError:
    return UpstreamPayloadError("twitter", "the answer is cut off", status=200)


def failing_at(page: int, error: Callable[[], BaseException]) -> Upstream:
    """An upstream whose pages go on for ever, of one post each, until ``error`` comes in the place of one."""

    def answer(cursor: str | None) -> Page:
        number = int(cursor or 1)
        if number == page:
            raise error()
        return Page((item(f"{number}", utc_now()),), next=str(number + 1))

    return Upstream(answer=answer)


def costs(pipeline: Pipeline) -> tuple[float, float]:
    """What today has cost, and what of that is uncertain."""
    found = pipeline.admission._monitor.get_source_metrics("twitter")
    return round(found.cost_today, 6), round(found.uncertain_cost_today, 6)


@pytest.mark.parametrize("error", [unanswered, cut_off, KeyboardInterrupt, ZeroDivisionError])
def test_a_page_that_was_sent_for_and_not_read_costs_as_much_as_any(
    pipeline: Pipeline, error: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """X bills what it serves, whatever comes of it on the way; a budget that counts nothing is no bound."""
    caplog.set_level(logging.INFO)
    with pytest.raises(type(error())):
        pipeline.run(failing_at(1, error), AAPL)
    assert costs(pipeline) == (TWITTER.price.per_page, TWITTER.price.per_page)
    assert "bill.uncertain" in [record.msg for record in caplog.records]


@pytest.mark.parametrize("error", [unanswered, cut_off])
def test_a_second_page_that_is_lost_is_billed_beside_the_first(
    pipeline: Pipeline, error: Callable[[], UpstreamError]
) -> None:
    """What came before is an answer, and what was lost is paid for all the same."""
    assert pipeline.run(failing_at(2, error), AAPL).sentiment.count == 1
    assert costs(pipeline) == (0.505, 0.5)


@pytest.mark.parametrize(
    "error",
    [
        lambda: UpstreamUnavailable("twitter", "no connection"),
        lambda: UpstreamUnavailable("twitter", "over capacity", status=503),
        lambda: UpstreamThrottled("twitter", "too many requests", status=429),
        lambda: UpstreamPayloadError("twitter", "moved", status=302),
    ],
)
def test_what_was_not_served_costs_nothing(pipeline: Pipeline, error: Callable[[], UpstreamError]) -> None:
    """An outage would spend the budget of the day, a page a try."""
    with pytest.raises(UpstreamError):
        pipeline.run(failing_at(1, error), AAPL)
    assert costs(pipeline) == (0.0, 0.0)


class _Simulated(TwitterProvider):
    """The twitter provider, asking a simulator in this process for ``expansions``."""

    expansions = ""
    simulator: TestClient

    def request(self, fetch: FetchRequest, cursor: str | None, since: datetime) -> HttpRequest:
        request = super().request(fetch, cursor, since)
        more = {"expansions": self.expansions} if self.expansions else {}
        return replace(request, params={**request.params, **more})

    def send(self, request: HttpRequest) -> RawResponse:
        token = DEMO_CREDENTIALS["TBCACHE_TWITTER__BEARER_TOKEN"]
        path = request.url.removeprefix(self.source.base_url)
        answer = self.simulator.get(
            f"/twitter{path}", params=dict(request.params), headers={"Authorization": f"Bearer {token}"}
        )
        return RawResponse(answer.status_code, dict(answer.headers), answer.content)


@pytest.mark.parametrize("expansions", ["", "author_id"])
def test_what_is_reckoned_is_what_the_simulator_bills(
    pipeline: Pipeline, settings: Settings, expansions: str
) -> None:
    """To the cent, users included; and asked as we ask, there are none."""
    provider = _Simulated(TWITTER, settings.source("twitter"))
    provider.persist_to_db, provider.expansions = False, expansions
    with TestClient(create_app(latency=(0.0, 0.0))) as provider.simulator:
        for symbol in ("AAPL", "TSLA"):
            pipeline.run(provider, FetchRequest("twitter", symbol))
        figures = provider.simulator.get("/_stats").json()["twitter"]
    assert bool(figures["users_served"]) is bool(expansions)
    cost = pipeline.admission._monitor.get_source_metrics("twitter").cost_today
    assert figures["billed"] > 0
    assert cost == pytest.approx(figures["billed"])
