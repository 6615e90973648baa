"""X API v2."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tbcache.fetch.upstream import RecheckingUpstream
from tbcache.models import Engagement, FetchRequest, Page
from tbcache.models.error import (
    ConfigurationError,
    UpstreamAuthError,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamNotEntitled,
    UpstreamNotFound,
    UpstreamPayloadError,
    UpstreamQuotaExhausted,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from tbcache.providers.base import Provider
from tbcache.providers.client import HttpClient
from tbcache.providers.twitter import PLAIN_SECONDS, TwitterProvider
from tbcache.settings import BUILT_IN, Settings
from tests.providers.kit import NOW, answer, first_request, next_request, provider, read_all

POST = {"id": "11", "text": "$AAPL &gt; all", "author_id": "5", "created_at": "2026-07-28T20:00:00.000Z"}
PROBLEM = "https://api.twitter.com/2/problems/"


def parse(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Page:
    return provider("twitter").parse(answer(body, status, headers))


def refused(body: object, status: int = 200, headers: dict[str, str] | None = None) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        parse(body, status, headers)
    return caught.value


def test_the_request_asks_for_a_cashtag_since_then_with_authors() -> None:
    """Without tweet.fields the posts come without time, and every refresh would be billed in vain."""
    request = first_request("twitter", hours=24)
    assert request.url == "https://api.x.com/2/tweets/search/recent"
    assert request.params["query"] == "$AAPL -is:retweet lang:en"
    assert request.params["start_time"] == "2026-07-27T21:00:00Z"
    assert request.params["max_results"] == "100"
    assert {"created_at", "author_id"} <= set(request.params["tweet.fields"].split(","))
    assert request.headers["User-Agent"]


def test_a_post_says_what_it_is_beside_its_text() -> None:
    """A retweet is no voice of its own, an edited post is one with its first version, a long one is cut."""
    post = POST | {
        "lang": "en",
        "edit_history_tweet_ids": ["9", "11"],
        "referenced_tweets": [{"type": "quoted", "id": "3"}],
        "note_tweet": {"text": "$AAPL &gt; all of it"},
        "entities": {"cashtags": [{"start": 0, "end": 5, "tag": "aapl"}]},
        "public_metrics": {"like_count": 4, "retweet_count": 2, "reply_count": 1},
    }
    (item,) = parse({"data": [post], "meta": {"result_count": 1}}).items
    assert (item.kind, item.origin, item.identity, item.lang) == ("quote", "3", "9", "en")
    assert (item.text, item.symbols) == ("$AAPL > all of it", ("AAPL",))
    assert item.engagement == Engagement(likes=4, reposts=2, replies=1)
    (plain,) = parse({"data": [POST], "meta": {"result_count": 1}}).items
    assert (plain.kind, plain.identity, plain.engagement) == ("post", "11", Engagement())


def test_the_request_asks_for_no_users() -> None:
    """X bills each user that an answer holds at $0.010, twice what the post costs that names its author."""
    assert not first_request("twitter").params.keys() & {"expansions", "user.fields"}


@pytest.mark.parametrize(
    ("chosen", "query"),
    [
        ("lang:de", "$AAPL lang:de"),
        (" (lang:en OR lang:de) -is:nullcast ", "$AAPL (lang:en OR lang:de) -is:nullcast"),
        ('-"give away (free"', '$AAPL -"give away (free"'),
        ('-"this OR that"', '$AAPL -"this OR that"'),
        ("None", "$AAPL"),
        ("", "$AAPL -is:retweet lang:en"),
    ],
)
def test_what_is_left_out_of_a_search_is_a_setting(chosen: str, query: str) -> None:
    """Who reads German posts, or wants the retweets, must not need a class of their own."""
    own = Settings.load({"TBCACHE_TWITTER__QUERY_FILTER": chosen}).source("twitter")
    twitter = TwitterProvider(BUILT_IN["twitter"], own)
    assert twitter.request(FetchRequest("twitter", "AAPL"), None, NOW).params["query"] == query


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ("(lang:en", "its parentheses do not match"),
        ("lang:en) (", "its parentheses do not match"),
        ('-"spam', "its quotes do not come in pairs"),
        ("lang:en OR lang:de", "an OR without parentheses would also find what does not name the symbol"),
        ("(a) OR (b)", "an OR without parentheses would also find what does not name the symbol"),
        ("lang:en\x07", "it should be like -is:retweet lang:en, or none"),
        (" ", "it should be like -is:retweet lang:en, or none"),
        ("x" * 473, "it has 473 characters; the most is 472, as X takes 512"),
    ],
)
def test_a_filter_that_x_would_refuse_is_refused_at_once(chosen: str, why: str) -> None:
    """Sent, it would be a 400 for each symbol, or a bill for posts of anything."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({"TBCACHE_TWITTER__QUERY_FILTER": chosen})
    assert str(caught.value) == f"TBCACHE_TWITTER__QUERY_FILTER={chosen!r} is not valid: {why}"


def test_the_longest_filter_leaves_room_for_the_longest_symbol() -> None:
    """X takes 512 characters, and a filter is checked before any symbol is known."""
    twitter = provider("twitter", query_filter="x" * 472)
    twitter._plain_until = math.inf  # type: ignore[attr-defined]
    assert len(twitter.request(FetchRequest("twitter", "A" * 15), None, NOW).params["query"]) == 512


def test_seven_days_are_asked_for_a_little_short() -> None:
    """By the time it arrives, a start of seven days ago is too old, and answered with 400."""
    start = first_request("twitter", hours=168).params["start_time"]
    assert datetime.fromisoformat(start) > NOW - timedelta(days=7)


def test_the_next_page_is_asked_for_by_its_token() -> None:
    """The token is all that tells the pages apart."""
    page = parse({"data": [POST], "meta": {"next_token": "abc", "result_count": 1}})
    assert page.next == "abc"
    assert next_request("twitter", "abc").params["next_token"] == "abc"


def test_a_post_is_read_with_its_authors_name() -> None:
    """People know names, not numbers."""
    (item,) = parse({"data": [POST], "includes": {"users": [{"id": "5", "username": "ann"}]}}).items
    assert (item.id, item.text, item.author) == ("11", "$AAPL > all", "ann")
    assert item.at == datetime(2026, 7, 28, 20, tzinfo=UTC)


def test_a_post_without_its_authors_name_keeps_the_number() -> None:
    """An answer without expansions still says who wrote it."""
    (item,) = parse({"data": [POST]}).items
    assert item.author == "5"


@pytest.mark.parametrize("missing", ["text", "author_id", "created_at", "id"])
@pytest.mark.parametrize("value", ["absent", None, [], {}])
def test_a_post_with_a_field_amiss_is_kept(missing: str, value: object) -> None:
    """One odd post must cost neither itself nor its page."""
    post: dict[str, object] = {name: field for name, field in POST.items() if name != missing}
    post |= {} if value == "absent" else {missing: value}
    other = {**POST, "id": "12"}
    items = parse({"data": [post, other]}).items
    assert len(items) == 2
    assert items[1].id == "12"


def test_one_post_alone_is_a_page() -> None:
    """A lookup of one post answers with an object."""
    assert len(parse({"data": POST}).items) == 1


def test_errors_beside_posts_leave_the_posts() -> None:
    """A referenced post that is gone is no reason to lose the others."""
    errors = [{"title": "Not Found Error", "type": PROBLEM + "resource-not-found"}]
    assert len(parse({"data": [POST], "errors": errors}).items) == 1


@pytest.mark.parametrize("body", [{"meta": {"result_count": 0}}, {"data": [], "meta": {}}, {"data": []}])
def test_no_posts_are_an_empty_page(body: dict[str, Any]) -> None:
    """A quiet symbol has no data key at all."""
    assert parse(body).items == ()


@pytest.mark.parametrize("data", [None, []])
def test_a_count_without_its_posts_is_no_empty_page(data: object) -> None:
    """They are billed; taken for an empty answer, they would be missed for good."""
    found = refused({"data": data, "meta": {"result_count": 5}})
    assert type(found) is UpstreamPayloadError
    assert "5 posts and holds none" in found.message


@pytest.mark.parametrize(
    ("body", "is_end"),
    [
        ({"meta": {"result_count": 0}}, True),
        ({"data": [POST], "meta": {"result_count": 1}}, True),
        ({"data": [POST], "meta": {"result_count": 2}}, False),
        ({"data": [POST], "meta": {"result_count": 0}}, False),
        ({"data": [POST], "meta": {"result_count": 1}, "errors": [{"title": "Service Unavailable"}]}, False),
        ({"data": [POST], "meta": {"result_count": 1}, "errors": [{"title": "Not Found Error"}]}, True),
        ({"data": [POST], "meta": {"result_count": 1, "next_token": None}}, False),
        ({"data": [POST], "meta": {"result_count": 1, "next_token": "abc"}}, False),
        ({"data": [POST], "meta": {}}, False),
        ({"data": [POST]}, False),
    ],
)
def test_a_search_is_over_where_its_count_is_met_and_no_token_given(
    body: dict[str, Any], is_end: bool
) -> None:
    """A token that is null, or a count that is missing, may hide any number of posts."""
    assert parse(body).exhausted is is_end


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"meta": {"result_count": 0}, "errors": [{"title": "Service Unavailable"}]}, UpstreamUnavailable),
        ({"meta": {"result_count": -5}}, UpstreamPayloadError),
    ],
)
def test_an_empty_answer_that_is_an_error_is_no_quiet_symbol(
    body: dict[str, Any], kind: type[UpstreamError]
) -> None:
    """Nothing was searched, and it was taken for a whole answer of no posts."""
    assert type(refused(body)) is kind


def test_counts_are_no_posts_but_a_total() -> None:
    """The counts endpoint tells how many there are, at a fixed price."""
    bucket = {"start": "2026-07-28T20:00:00Z", "end": "2026-07-28T21:00:00Z", "tweet_count": 3}
    page = parse({"data": [bucket], "meta": {"total_tweet_count": 3}})
    assert (page.items, page.total) == ((), 3)


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (
            {"title": "Authorization Error", "type": PROBLEM + "not-authorized-for-resource"},
            UpstreamNotEntitled,
        ),
        ({"title": "Not Found Error", "type": PROBLEM + "resource-not-found"}, UpstreamNotFound),
        (
            {"title": "Forbidden", "type": "https://api.x.com/2/problems/client-forbidden"},
            UpstreamNotEntitled,
        ),
        ({"title": "Invalid Request", "type": PROBLEM + "invalid-request"}, UpstreamBadRequest),
        ({"title": "Unauthorized", "type": "about:blank"}, UpstreamAuthError),
        ({"title": "UsageCapExceeded", "type": PROBLEM + "usage-capped"}, UpstreamQuotaExhausted),
        ({"title": "Something new", "type": PROBLEM + "new"}, UpstreamPayloadError),
    ],
)
def test_a_success_of_nothing_but_errors_is_the_first_of_them(
    problem: dict[str, str], kind: type[UpstreamError]
) -> None:
    """With status 200, the body alone says what is wrong."""
    assert type(refused({"errors": [problem]})) is kind


@pytest.mark.parametrize("status", [402, 403, 429])
@pytest.mark.parametrize(
    ("period", "until"),
    [
        ("Daily", datetime(2026, 7, 29, tzinfo=UTC)),
        ("Monthly", datetime(2026, 8, 1, tzinfo=UTC)),
        (None, None),
    ],
)
def test_a_usage_cap_is_a_quota_until_its_period_ends(
    status: int, period: str | None, until: datetime | None
) -> None:
    """Retried as if it were a window, a cap burns every attempt until the month is over."""
    body = {"title": "UsageCapExceeded", "type": PROBLEM + "usage-capped", "period": period}
    found = refused(body, status, {"x-rate-limit-reset": str(int(NOW.timestamp()) + 60)})
    assert type(found) is UpstreamQuotaExhausted
    assert found.retry_at == until


def test_spent_credits_are_a_quota_of_unknown_end() -> None:
    """They come back when somebody pays."""
    found = refused({"title": "CreditsDepleted", "type": "https://api.x.com/2/problems/credits"}, 402)
    assert type(found) is UpstreamQuotaExhausted
    assert found.retry_at is None


def test_a_spent_day_is_a_quota_and_a_spent_window_is_none() -> None:
    """The body is the same in both: only the headers tell a minute from a day."""
    body = {"title": "Too Many Requests", "status": 429}
    window = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(int(NOW.timestamp()) + 60)}
    reset = datetime(2026, 7, 29, 3, tzinfo=UTC)
    day = {
        "x-app-limit-24hour-remaining": "0",
        "x-app-limit-24hour-reset": str(int(reset.timestamp())),
    }
    assert type(refused(body, 429, window)) is UpstreamThrottled
    found = refused(body, 429, window | day)
    assert type(found) is UpstreamQuotaExhausted
    assert found.retry_at == reset


NO_CASHTAGS = (
    "There were errors processing your request: Reference to invalid operator 'cashtag'. Operator is not "
    "available in current product or product packaging."
)


def no_cashtags(request: httpx2.Request) -> httpx2.Response:
    """What X answers on a plan without the operator, and an outage to everything else."""
    if request.url.params["query"].startswith("$"):
        return httpx2.Response(400, json={"errors": [{"message": NO_CASHTAGS}]})
    return httpx2.Response(503, json={"title": "Service Unavailable"})


def asking(handler: Callable[[httpx2.Request], httpx2.Response], **own: Any) -> Provider:
    """The provider, whose requests ``handler`` answers, and whose figures go nowhere."""
    twitter = provider("twitter", **own)
    twitter.client = HttpClient("twitter", transport=httpx2.MockTransport(handler))
    twitter.usage_monitor = Counted()  # type: ignore[assignment]
    return twitter


class Counted:
    """A usage monitor that only remembers."""

    def __init__(self) -> None:
        self.figures: Counter[str] = Counter()

    def count(self, source: str, figures: Mapping[str, int]) -> None:
        self.figures.update(figures)


def query(twitter: Provider) -> str:
    """What it would be asked next."""
    return twitter.request(FetchRequest("twitter", "AAPL"), None, NOW).params["query"]


def test_a_plan_without_cashtags_is_asked_without_them_in_the_same_fetch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A command asks once and ends: what only the next ask could do right, it would never do."""
    twitter = asking(no_cashtags)
    page = twitter.parse(twitter.send(twitter.request(FetchRequest("twitter", "AAPL"), None, NOW)))
    assert page.items == ()
    second = twitter.request(FetchRequest("twitter", "AAPL"), page.next, NOW)
    assert second.params["query"] == '("$AAPL" OR AAPL) -is:retweet lang:en'
    assert "next_token" not in second.params
    assert query(twitter) == second.params["query"]
    assert twitter.send(second).status == 503
    # Told, in the log and by the figures that `status` looks at.
    assert "plan.no_cashtags" in [record.msg for record in caplog.records]
    assert twitter.usage_monitor.figures == {"plain": 1}  # type: ignore[attr-defined]
    # And for a while: tomorrow's plan may have them.
    later = time.monotonic() + PLAIN_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert query(twitter) == "$AAPL -is:retweet lang:en"


def test_what_became_of_known_posts_is_asked_by_their_ids() -> None:
    """A request without a query ended the load, and lost all the pages before it, which were billed."""
    twitter = asking(lambda request: httpx2.Response(200, json={"data": [], "errors": []}))
    assert isinstance(twitter, RecheckingUpstream)
    assert twitter.rechecked(twitter.send(twitter.recheck(["1", "2"]))).items == ()


def test_an_error_after_the_refusal_of_cashtags_is_that_error() -> None:
    """An outage was stored as an answer of no posts, over the one that was there."""
    with pytest.raises(UpstreamUnavailable) as caught:
        read_all(asking(no_cashtags))
    assert caught.value.status == 503


@pytest.mark.parametrize(
    "error",
    [
        {},
        {"message": "Invalid 'start_time'", "parameters": {"query": ["$AAPL has:cashtags lang:en"]}},
        {"message": "Reference to invalid operator 'has:cashtags'. Operator is not available."},
        {"message": "no viable alternative at input '$AAPL has:cashtags'"},
    ],
)
def test_another_bad_request_leaves_the_cashtag(error: dict[str, Any]) -> None:
    """A plain word finds more, and every post is billed."""
    twitter = asking(lambda _: httpx2.Response(400, json={"errors": [error]}), query_filter="has:cashtags")
    with pytest.raises(UpstreamBadRequest):
        read_all(twitter)
    assert query(twitter) == "$AAPL has:cashtags"


def test_one_post_many_times_is_not_all_that_there_are() -> None:
    """A hundred are counted, and one has come."""
    post = {"id": "1", "text": "up", "created_at": "2026-07-28T20:00:00Z"}
    page = parse({"data": [post] * 100, "meta": {"result_count": 100}})
    assert (len(page.items), page.exhausted) == (1, False)


def problem(id: str, kind: str, what: str = "tweet") -> dict[str, str]:
    return {"resource_id": id, "resource_type": what, "title": "Not Found Error", "type": f"{PROBLEM}{kind}"}


def test_posts_that_x_shows_no_more_are_gone() -> None:
    """Deleted, of an account that is protected now, or withheld: none of them may be shown any more."""
    twitter = TwitterProvider(BUILT_IN["twitter"], Settings.load({}).source("twitter"))
    request = twitter.recheck(["11", "12", "13"])
    assert (request.url.rpartition("/")[2], request.params["ids"]) == ("tweets", "11,12,13")
    errors = [problem("12", "resource-not-found"), problem("13", "not-authorized-for-resource")]
    page = twitter.rechecked(answer({"data": [POST], "errors": [*errors, problem("5", "x", "user")]}))
    assert ([item.id for item in page.items], page.gone) == (["11"], ("12", "13"))
    # All of them may be.
    assert twitter.rechecked(answer({"errors": errors})).gone == ("12", "13")


def test_a_lookup_that_fails_says_of_no_post_that_it_is_gone() -> None:
    """A whole day would be forgotten by an outage."""
    twitter = TwitterProvider(BUILT_IN["twitter"], Settings.load({}).source("twitter"))
    assert twitter.rechecked(answer({})).gone == ()
    for body, status in (({"title": "Unauthorized"}, 401), ({"errors": [{"message": "no"}]}, 200)):
        with pytest.raises(UpstreamError):
            twitter.rechecked(answer(body, status))
