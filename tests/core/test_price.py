"""The price rule: posts and users, here and in the simulator."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from starlette.testclient import TestClient

from tbcache.models import FetchRequest, HttpRequest, Page, RawResponse
from tbcache.pipeline import Pipeline
from tbcache.price import Price
from tbcache.providers.twitter import TwitterProvider
from tbcache.settings import Settings
from tbcache.simulator import DEMO_CREDENTIALS
from tbcache.simulator.app import create_app
from tests.core.conftest import TWITTER, Upstream, item


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


class _Simulated(TwitterProvider):
    """The twitter provider, asking a simulator in this process for ``expansions``."""

    expansions = ""
    simulator: TestClient

    def request(self, fetch: FetchRequest, cursor: str | None, now: datetime) -> HttpRequest:
        request = super().request(fetch, cursor, now)
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
