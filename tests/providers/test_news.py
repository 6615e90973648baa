"""NewsAPI."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tbcache.models import Page
from tbcache.models.error import (
    UpstreamAuthError,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamNotEntitled,
    UpstreamQuotaExhausted,
    UpstreamThrottled,
)
from tests.providers.kit import NOW, answer, first_request, next_request, provider

DAILY = "You have made too many requests recently. Limited to 100 requests over a 24 hour period."


def article(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "source": {"id": None, "name": "The Wire"},
        "author": "Ann",
        "title": "Up &amp; up",
        "description": "It rose.",
        "url": f"https://news.test/{number}",
        "publishedAt": f"2026-07-28T20:{number:02d}:00Z",
        "content": "It rose. [+99 chars]",
    } | fields


def parse(*articles: object, total: object = None, status: int = 200) -> Page:
    body = {
        "status": "ok",
        "totalResults": len(articles) if total is None else total,
        "articles": list(articles),
    }
    return provider("news").parse(answer(body, status))


def refused(body: object, status: int = 200) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        provider("news").parse(answer(body, status))
    return caught.value


def test_the_request_asks_for_the_newest_articles_since_then() -> None:
    """Sorted otherwise, the hundred that come are not the ones that are asked about."""
    request = first_request("news")
    assert request.url == "https://newsapi.org/v2/everything"
    assert request.params["q"] == "AAPL OR Apple OR iPhone"
    assert request.params["from"] == "2026-07-27T21:00:00Z"
    assert request.params["sortBy"] == "publishedAt"
    assert request.params["pageSize"] == "100"
    assert "page" not in request.params


def test_an_article_is_read_with_title_and_description() -> None:
    """The content is cut in the middle of a sentence and says nothing that these do not."""
    (item,) = parse(article(1)).items
    assert item.id == "https://news.test/1"
    assert item.text == "Up & up\n\nIt rose."
    assert item.author == "Ann"
    assert item.at == datetime(2026, 7, 28, 20, 1, tzinfo=UTC)


def test_removed_articles_are_no_items() -> None:
    """They stand for nothing, in 1970."""
    removed = article(1, title="[Removed]", description="[Removed]", publishedAt="1970-01-01T00:00:00Z")
    page = parse(removed, article(2), total=9)
    assert [item.id for item in page.items] == ["https://news.test/2"]
    assert page.next == "2026-07-28T20:02:00Z"


@pytest.mark.parametrize(
    "field", ["author", "title", "description", "url", "publishedAt", "source", "content"]
)
@pytest.mark.parametrize("value", [None, [], 7])
def test_an_article_with_a_field_amiss_is_kept(field: str, value: object) -> None:
    """One odd article must cost neither itself nor its page."""
    assert len(parse(article(1, **{field: value}), article(2)).items) == 2


def test_an_article_without_address_has_the_same_id_each_time() -> None:
    """Otherwise it is stored anew with every refresh."""
    ids = {parse(article(1, url=None)).items[0].id for _ in range(2)}
    assert len(ids) == 1


def test_the_next_page_ends_where_this_one_ended() -> None:
    """Pages by number run into 426, and shift when an article comes in."""
    page = parse(article(5), article(4), article(3), total=150)
    assert (page.next, page.total, page.exhausted) == ("2026-07-28T20:03:00Z", 150, False)
    assert next_request("news", "2026-07-28T20:03:00Z").params["to"] == "2026-07-28T20:03:00Z"


def test_an_article_out_of_its_order_does_not_end_the_paging() -> None:
    """One of 2019 at the top of a list would have let all in between be left out."""
    page = parse(article(9, publishedAt="2019-01-01T00:00:00Z"), article(5), article(4), total=150)
    assert page.next == "2026-07-28T20:04:00Z"


def test_a_whole_answer_has_no_next_page() -> None:
    """A request for nothing costs a hundredth of the free day."""
    for page in (parse(article(1), article(2)), parse(article(1), total="1"), parse()):
        assert (page.next, page.exhausted) == (None, True)


@pytest.mark.parametrize("total", ["many", "", 7])
def test_an_answer_that_does_not_say_how_many_there_are_states_no_end(total: object) -> None:
    """A hundred articles without a word of the others are not all there are."""
    page = parse(article(1, publishedAt=None), total=total)
    assert (page.next, page.exhausted) == (None, False)


def test_a_page_within_one_second_moves_on() -> None:
    """The same page would come again, until the budget is spent."""
    same = "2026-07-28T20:00:00Z"
    page = parse(article(1, publishedAt=same), article(2, publishedAt=same), total=9)
    assert page.next == "2026-07-28T19:59:59Z"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("apiKeyMissing", UpstreamAuthError),
        ("apiKeyInvalid", UpstreamAuthError),
        ("apiKeyDisabled", UpstreamAuthError),
        ("apiKeyExhausted", UpstreamQuotaExhausted),
        ("rateLimited", UpstreamThrottled),
        ("parameterInvalid", UpstreamBadRequest),
        ("sourcesTooMany", UpstreamBadRequest),
        ("maximumResultsReached", UpstreamNotEntitled),
    ],
)
def test_an_error_with_status_200_is_what_its_code_says(code: str, kind: type[UpstreamError]) -> None:
    """Proxies in front of it lose the status."""
    assert type(refused({"status": "error", "code": code, "message": "no"})) is kind


@pytest.mark.parametrize(
    ("code", "message", "kind", "until"),
    [
        ("rateLimited", "Slow down.", UpstreamThrottled, None),
        ("rateLimited", DAILY, UpstreamQuotaExhausted, NOW + timedelta(hours=24)),
        ("rateLimited", DAILY + " (50 every 12 hours)", UpstreamQuotaExhausted, NOW + timedelta(hours=12)),
        ("rateLimited", "100 requests per day", UpstreamQuotaExhausted, NOW + timedelta(hours=24)),
        ("rateLimited", "500 requests per month", UpstreamQuotaExhausted, datetime(2026, 8, 1, tzinfo=UTC)),
        ("apiKeyExhausted", "No more requests available.", UpstreamQuotaExhausted, None),
    ],
)
def test_what_is_counted_by_the_day_is_a_quota(
    code: str, message: str, kind: type[UpstreamError], until: datetime | None
) -> None:
    """A code says rateLimited for both; the words say whether to wait a minute or a day."""
    found = refused({"status": "error", "code": code, "message": message}, 429)
    assert type(found) is kind
    assert found.retry_at == until


def test_too_far_in_the_past_is_a_matter_of_the_plan() -> None:
    """The same request would be answered for money."""
    body = {
        "status": "error",
        "code": "parameterInvalid",
        "message": "You are trying to request results too far in the past.",
    }
    assert type(refused(body, 426)) is UpstreamNotEntitled


@pytest.mark.parametrize("total", [0, -1])
def test_a_total_of_fewer_articles_than_came_is_no_end(total: int) -> None:
    """It contradicts itself, and more may follow."""
    assert not parse(article(1), article(2), total=total).exhausted


def test_one_article_many_times_is_not_all_that_there_are() -> None:
    """A hundred are counted, and one has come."""
    page = parse(*(article(1) for _ in range(100)))
    assert (len(page.items), page.exhausted) == (1, False)
    assert parse(article(1), article(2) | {"title": "[Removed]"}).exhausted
