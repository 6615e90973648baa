"""Reddit's listings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tbcache.models import Page
from tbcache.models.error import UpstreamAuthError, UpstreamError, UpstreamNotFound, UpstreamPayloadError
from tbcache.scoring import get_scorer, score_items
from tests.providers.kit import answer, first_request, next_request, provider


def post(number: int, **fields: Any) -> dict[str, Any]:
    data = {
        "name": f"t3_{number}",
        "id": str(number),
        "title": "GME &amp; co",
        "selftext": "to the moon",
        "author": "ann",
        "created_utc": 1785268800.0,
    }
    return {"kind": "t3", "data": data | fields}


def comment(number: int, **fields: Any) -> dict[str, Any]:
    data = {"name": f"t1_{number}", "body": "no", "author": "bob", "created_utc": 1785268800.0, "replies": ""}
    return {"kind": "t1", "data": data | fields}


def listing(*children: object, after: object = None) -> dict[str, Any]:
    return {"kind": "Listing", "data": {"children": list(children), "after": after}}


def parse(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Page:
    return provider("reddit").parse(answer(body, status, headers))


@pytest.mark.parametrize(
    ("hours", "span"),
    [(1, "hour"), (2, "day"), (24, "day"), (25, "week"), (168, "week"), (720, "month"), (8760, "year")],
)
def test_the_request_asks_for_the_smallest_span_that_covers_the_hours(hours: int, span: str) -> None:
    """Search goes only 250 posts deep: a wider span reaches less far back."""
    request = first_request("reddit", "GME", hours, subreddits="stocks+options")
    assert request.url == "https://oauth.reddit.com/r/stocks+options/search"
    assert request.params == {
        "q": "GME OR GameStop",
        "restrict_sr": "1",
        "sort": "new",
        "t": span,
        "limit": "100",
        "raw_json": "1",
    }


def test_the_user_agent_is_the_operators_own() -> None:
    """Reddit throttles agents it cannot tell apart."""
    request = first_request("reddit", user_agent="python:mybot:v1 (by /u/me)")
    assert request.headers["User-Agent"] == "python:mybot:v1 (by /u/me)"


def test_the_next_page_is_asked_for_by_what_it_follows() -> None:
    """A listing names the last thing it showed."""
    assert parse(listing(post(1), after="t3_1")).next == "t3_1"
    assert next_request("reddit", "t3_1").params["after"] == "t3_1"


def test_a_search_ends_where_it_says_so_and_never_at_its_depth() -> None:
    """It shows 220 to 250 posts of any number, and then ends as if there were no more."""
    page = parse(listing(post(1)))
    assert (page.next, page.exhausted, page.depth) == (None, True, 200)
    for after in ("t3_1", "", 7):
        assert not parse(listing(post(1), after=after)).exhausted
    assert not parse({"kind": "Listing", "data": {"children": []}}).exhausted
    assert not parse(listing(post(1)) | {"errors": ["something broke"]}).exhausted


@pytest.mark.parametrize("mark", ["stickied", "promoted"])
def test_what_is_pinned_or_promoted_is_no_item(mark: str) -> None:
    """A thread that moderators open each day is no opinion, and its place says nothing of its time."""
    page = parse(listing(post(1, **{mark: True}), comment(2, **{mark: True}), post(3, **{mark: False})))
    assert [item.id for item in page.items] == ["t3_3"]


def test_posts_and_comments_are_items() -> None:
    """A user's listing mixes both, and both are opinions."""
    first, second = parse(listing(post(1), comment(2))).items
    assert (first.id, first.text, first.author) == ("t3_1", "GME & co\n\nto the moon", "ann")
    assert (second.id, second.text) == ("t1_2", "no")
    assert first.at == datetime(2026, 7, 28, 20, tzinfo=UTC)


def test_a_page_of_comments_is_read_with_its_replies() -> None:
    """It comes as two listings, and the answers to a comment hang below it."""
    nested = comment(2, replies=listing(comment(3, replies=listing({"kind": "more", "data": {"count": 9}}))))
    items = parse([listing(post(1)), listing(nested)]).items
    assert [item.id for item in items] == ["t3_1", "t1_2", "t1_3"]


@pytest.mark.parametrize("author", [None, "[deleted]", "[removed]", "", 0.5])
def test_a_post_of_a_deleted_author_is_kept(author: object) -> None:
    """The text counts as much as before."""
    (item,) = parse(listing(post(1, author=author))).items
    assert item.author is None


@pytest.mark.parametrize(
    "thing",
    [
        post(1, selftext="[removed]"),
        post(1, selftext="[deleted]", author="[deleted]"),
        post(1, selftext="", removed_by_category="moderator"),
        post(1, author="AutoModerator"),
        comment(1, body="[removed]"),
        comment(1, author="AutoModerator"),
    ],
)
def test_what_is_no_opinion_is_not_scored_and_counts_as_read(thing: dict[str, Any]) -> None:
    """A placeholder and a robot moved the mean; left out, they would hide how far a page reaches."""
    page = parse(listing(thing, post(2, removed_by_category=None)))
    assert [item.at for item in page.items] == [datetime(2026, 7, 28, 20, tzinfo=UTC)] * 2
    scores = score_items(page.items, get_scorer())
    assert scores[0] is None
    assert scores[1] is not None


def test_other_kinds_and_broken_children_are_left_out() -> None:
    """Subreddits, "more" and nonsense say nothing about a symbol."""
    odd = [{"kind": "more", "data": {}}, {"kind": "t5", "data": {"name": "t5_1"}}, None, 7, {"kind": "t3"}]
    assert [item.id for item in parse(listing(*odd, post(1), post(1))).items] == ["t3_1"]


@pytest.mark.parametrize("field", ["name", "id", "title", "selftext", "author", "created_utc"])
@pytest.mark.parametrize("value", [None, [], {}, True])
def test_a_post_with_a_field_amiss_is_kept(field: str, value: object) -> None:
    """One odd post must cost neither itself nor its page."""
    assert len(parse(listing(post(1, **{field: value}), post(2))).items) == 2


def test_more_than_the_limit_is_read_whole() -> None:
    """Sticky posts come on top of the hundred that were asked for."""
    assert len(parse(listing(*(post(n) for n in range(102)))).items) == 102


@pytest.mark.parametrize("name", ["invalid_grant", "unauthorized_client"])
@pytest.mark.parametrize("status", [200, 400])
def test_a_refusal_of_the_token_endpoint_is_an_auth_error(name: str, status: int) -> None:
    """It comes with 200, and means that the credentials are wrong."""
    with pytest.raises(UpstreamAuthError):
        parse({"error": name}, status)


def test_a_token_is_no_page() -> None:
    """Read as a page, it would be an empty one."""
    with pytest.raises(UpstreamPayloadError):
        parse({"access_token": "x", "token_type": "bearer", "expires_in": 3600, "scope": "*"})


def test_a_redirect_to_the_search_for_subreddits_is_not_found() -> None:
    """That is how Reddit says that a subreddit does not exist."""
    with pytest.raises(UpstreamNotFound):
        parse(b"", 302, {"location": "https://www.reddit.com/subreddits/search?q=nope"})


def test_a_listing_nested_without_end_ends() -> None:
    """A hostile answer must not overflow the stack."""
    body: Any = comment(0)
    for number in range(1, 100):
        body = comment(number, replies=listing(body))
    assert 0 < len(parse(listing(body)).items) < 100
    with pytest.raises(UpstreamError):
        parse(b"[" * 900 + b"]" * 900)
