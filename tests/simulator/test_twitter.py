"""X API v2, as UPSTREAMS describes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from tbcache.models import Limit
from tests.simulator import ask
from tests.simulator.conftest import START, Clock, is_gone, truth


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _all(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    """Every post of every page."""
    rows: list[dict[str, Any]] = []
    while True:
        page = ask.twitter(client, **params).json()
        rows += page.get("data", [])
        if "next_token" not in page["meta"]:
            return rows
        params["next_token"] = page["meta"]["next_token"]


def _was_there(row: dict[str, Any]) -> bool:
    """On one of the pages of the last day, the first read at START, the others an hour later."""
    at = datetime.fromisoformat(row["edited_at"] or row["at"]).timestamp()
    is_meant = bool(row["symbols"])
    return is_meant and START - 86_400 <= at < START and not is_gone(row, START + 3600)


def test_without_fields_only_the_default_ones_come(client: TestClient) -> None:
    """A provider that forgets tweet.fields gets no times, here as there."""
    page = ask.twitter(client).json()
    assert page["meta"]["result_count"] == len(page["data"]) == 10
    assert all(set(row) == {"id", "text", "edit_history_tweet_ids"} for row in page["data"])
    assert "includes" not in page


def test_fields_and_expansions_are_honoured(client: TestClient) -> None:
    """Authors come beside the posts and are joined by id."""
    fields = {"tweet.fields": "created_at", "expansions": "author_id", "user.fields": "verified"}
    page = ask.twitter(client, **fields).json()
    users = {user["id"]: user for user in page["includes"]["users"]}
    assert all(row["author_id"] in users and row["created_at"].endswith(".000Z") for row in page["data"])
    assert set(next(iter(users.values()))) == {"id", "name", "username", "verified"}


def test_pages_cover_the_span_once_and_newest_first(client: TestClient, clock: Clock) -> None:
    """A refresh that pages must neither lose nor repeat a post, even while new ones arrive."""
    span = {"start_time": _iso(START - 86_400), "max_results": 100, "tweet.fields": "created_at"}
    first = ask.twitter(client, **span).json()
    clock.advance(3600)
    rest = _all(client, **span, next_token=first["meta"]["next_token"])
    times = [row["created_at"] for row in (*first["data"], *rest)]
    assert len(times) == len([row for row in truth(client, "twitter", "AAPL", 25) if _was_there(row)])
    assert len({row["id"] for row in (*first["data"], *rest)}) == len(times)
    assert times == sorted(times, reverse=True)
    assert datetime.fromisoformat(times[-1]).timestamp() >= START - 86_400


def test_since_id_gives_only_what_is_new(client: TestClient, clock: Clock) -> None:
    """Posts cost money: a refresh pays only for new ones."""
    newest = ask.twitter(client).json()["meta"]["newest_id"]
    assert ask.twitter(client, since_id=newest).json() == {"meta": {"result_count": 0}}
    clock.advance(7200)
    fresh = _all(client, since_id=newest, max_results=100)
    assert 0 < len(fresh) < 100
    assert all(int(row["id"]) > int(newest) for row in fresh)


def test_until_id_and_end_time_are_exclusive(client: TestClient) -> None:
    """Off-by-one here shows as a repeated post at each page border."""
    page = ask.twitter(client, **{"tweet.fields": "created_at"}).json()
    third = page["data"][2]
    assert ask.twitter(client, until_id=third["id"]).json()["data"][0]["id"] == page["data"][3]["id"]
    before = ask.twitter(client, end_time=third["created_at"]).json()
    assert before["data"][0]["id"] == page["data"][3]["id"]


def test_an_empty_result_has_no_data_key(client: TestClient) -> None:
    """The one shape that a parser written against full pages trips over."""
    assert ask.twitter(client, "$ZZZQ").json() == {"meta": {"result_count": 0}}


def test_texts_are_escaped_and_carry_the_cashtag(client: TestClient) -> None:
    """Scoring `&amp;` as a word is a mistake only escaped texts reveal."""
    texts = [row["text"] for row in _all(client, max_results=100, start_time=_iso(START - 86_400))]
    assert any("&amp;" in text for text in texts)
    assert not any("& " in text for text in texts)
    assert all("$AAPL" in unescape(text) for text in texts)


def test_the_same_post_is_the_same_in_every_process(simulator: Callable[..., TestClient]) -> None:
    """A restarted simulator, or a second one, must not look like new posts; another seed must."""
    first, second, other = (ask.twitter(simulator(seed=seed)).json()["data"] for seed in (7, 7, 8))
    assert first == second
    assert first != other


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"max_results": 9}, "max_results"),
        ({"max_results": 101}, "max_results"),
        ({"start_time": _iso(START - 7 * 86_400 - 5)}, "start_time"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"end_time": _iso(START)}, "end_time"),
        ({"since_id": "1000"}, "since_id"),
        ({"next_token": "nonsense!"}, "next_token"),
        ({"tweet.fields": "mood"}, "tweet.fields"),
        ({"query": "x" * 513}, "query"),
        ({"max_result": 10}, "max_result"),
        ({"expansions": "author"}, "expansions"),
        ({"user.fields": "followers"}, "user.fields"),
        ({"media.fields": "size"}, "media.fields"),
        ({"sort_order": "newest"}, "sort_order"),
        ({"query": ""}, "query"),
    ],
)
def test_a_bad_parameter_is_a_400_that_names_it(
    client: TestClient, params: dict[str, Any], parameter: str
) -> None:
    """A provider that asks wrongly must learn it here and not from the real API."""
    answer = ask.twitter(client, **params)
    assert answer.status_code == 400
    assert answer.json()["title"] == "Invalid Request"
    assert list(answer.json()["errors"][0]["parameters"]) == [parameter]


def test_seven_days_back_is_allowed_to_the_second(client: TestClient) -> None:
    """hours=168 is promised to users; its start_time must not be refused."""
    assert ask.twitter(client, start_time=_iso(START - 7 * 86_400)).status_code == 200


def test_a_wrong_token_is_an_unauthorized_problem(client: TestClient) -> None:
    """The body is what tells a provider apart from a throttled one."""
    answer = client.get("/twitter/2/tweets/search/recent?query=$A", headers={"Authorization": "Bearer no"})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")
    expected = {"title": "Unauthorized", "detail": "Unauthorized", "type": "about:blank", "status": 401}
    assert answer.json() == expected


def test_the_window_is_fixed_and_all_of_it_comes_back_at_once(
    simulator: Callable[..., TestClient], clock: Clock
) -> None:
    """X says when its window ends; who comes back then has the whole limit again, and nothing before."""
    client = simulator(limits={"twitter": [Limit(3, 900)]})
    first = ask.twitter(client)
    clock.advance(800)
    headers = [ask.twitter(client).headers for _ in range(2)]
    assert {each["x-rate-limit-reset"] for each in (first.headers, *headers)} == {str(int(START + 900))}
    assert [each["x-rate-limit-remaining"] for each in (first.headers, *headers)] == ["2", "1", "0"]
    refused = ask.twitter(client)
    assert (refused.status_code, refused.headers["x-rate-limit-remaining"]) == (429, "0")
    clock.at = float(refused.headers["x-rate-limit-reset"])
    assert [ask.twitter(client).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert client.get("/_stats").json()["twitter"]["max_in_window"] == {"3/15m": 7}


def test_a_503_has_a_body(client: TestClient) -> None:
    """tweepy shows its title; a parser must not take it for an empty page."""
    client.post("/_faults", json={"twitter": {"outage": True}})
    answer = ask.twitter(client)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert (answer.status_code, answer.json()["title"]) == (503, "Service Unavailable")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("-is:retweet", "at least one positive"),
        ("lang:en", "at least one positive"),
        ("$AAPL OR lang:en", "at least one positive"),
        ("-$AAPL", "at least one positive"),
        ("($AAPL OR $MSFT", "missing ')'"),
        ("$AAPL)", "no viable alternative at input ')'"),
        ("()", "no viable alternative at input ')'"),
        ('"apple', "missing '\"'"),
        ("$AAPL OR", "no viable alternative at input '<EOF>'"),
        ("OR $AAPL", "no viable alternative at input 'OR'"),
        ("$AAPL AND $MSFT", "Ambiguous use of and as a keyword"),
        ("$AAPL language:en", "Reference to invalid operator 'language'"),
        ("$AAPL is:spam", "Reference to invalid field value 'spam'"),
    ],
)
def test_a_query_that_x_does_not_take_is_a_400(client: TestClient, query: str, words: str) -> None:
    """A stand-in that answers what X refuses lets a broken query through to where it costs a day."""
    answer = ask.twitter(client, query)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["parameters"] == {"query": [query]}
    assert words in error["message"]


def _found(client: TestClient, query: str) -> set[str]:
    """The ids of all posts of the last day that ``query`` finds."""
    return {row["id"] for row in _all(client, query=query, max_results=100, start_time=_iso(START - 86_400))}


@pytest.mark.parametrize(
    ("query", "is_meant"),
    [
        ("$NVDA", lambda row: True),
        ("$NVDA -is:retweet", lambda row: row["kind"] != "retweet"),
        ("$NVDA is:quote", lambda row: row["kind"] == "quote"),
        ("$nvda (is:reply OR is:quote)", lambda row: row["kind"] in ("reply", "quote")),
        ("$NVDA lang:en", lambda row: row["lang"] == "en"),
        ("$NVDA -lang:en -is:retweet", lambda row: row["lang"] != "en" and row["kind"] != "retweet"),
        ("$NVDA from:gamma_reader", lambda row: row["author"] == "gamma_reader"),
        ("$NVDA -from:gamma_reader", lambda row: row["author"] != "gamma_reader"),
        ("$NVDA $TSLA", lambda row: "TSLA" in row["symbols"]),
        ("$NVDA -$TSLA", lambda row: "TSLA" not in row["symbols"]),
        ('"$NVDA" OR NVDA', lambda row: True),
    ],
)
def test_a_query_finds_what_it_means_and_nothing_else(
    client: TestClient, query: str, is_meant: Callable[[dict[str, Any]], bool]
) -> None:
    """What a query leaves out is not billed; only one that is honoured shows what it saves."""
    rows = [row for row in truth(client, "twitter", "NVDA") if not is_gone(row)]
    meant = {row["ids"][-1] for row in rows if is_meant(row)}
    assert meant
    assert _found(client, query) ^ meant <= {row["ids"][-1] for row in rows if row["edited_at"]}


def test_a_phrase_is_found_as_it_stands(client: TestClient) -> None:
    """Quotes keep words together; without them each may stand anywhere."""
    texts = [
        unescape(row["text"]).lower()
        for row in _all(client, query='$NVDA "next stop" -is:retweet', max_results=100)
    ]
    assert texts
    assert all("next stop" in text for text in texts)
    assert not _all(client, query='$NVDA "stop next" -is:retweet', max_results=100)
    assert len(_all(client, query="$NVDA stop next -is:retweet", max_results=100)) == len(texts)


def test_one_query_finds_several_symbols_each_post_once(client: TestClient) -> None:
    """512 characters hold many cashtags: that is one request in place of ten."""
    each = [_found(client, f"${symbol}") for symbol in ("AAPL", "MSFT", "GME")]
    assert _found(client, "$AAPL OR $MSFT OR $GME") == set.union(*each)
    assert each[0] & each[1]


def test_retweets_quotes_and_replies_name_what_they_are_about(client: TestClient) -> None:
    """Whoever counts opinions counts a retweet as another's, or not at all."""
    kinds = {"retweeted": "RT @", "quoted": "", "replied_to": "@"}
    seen = set()
    fields = {"tweet.fields": "referenced_tweets", "expansions": "referenced_tweets.id.author_id"}
    page = ask.twitter(client, "$NVDA", max_results=100, **fields).json()
    shown = {row["id"]: row for row in page["includes"]["tweets"]}
    gone = {error["resource_id"] for error in page.get("errors", [])}
    for row in page["data"]:
        for reference in row.get("referenced_tweets", []):
            seen.add(reference["type"])
            assert row["text"].startswith(kinds[reference["type"]])
            assert (reference["id"] in shown) != (reference["id"] in gone)
            if reference["type"] == "retweeted":
                original = unescape(shown[reference["id"]]["text"])
                assert unescape(row["text"]).partition(": ")[2].rstrip("…") in original
    assert seen == set(kinds)
    assert {row["author_id"] for row in shown.values()} <= {user["id"] for user in page["includes"]["users"]}


def test_what_is_shown_beside_posts_is_billed_as_well(client: TestClient) -> None:
    """X bills each post and each user that an answer holds, wherever in it they stand."""
    fields = {"tweet.fields": "author_id", "expansions": "author_id,referenced_tweets.id"}
    page = ask.twitter(client, "$NVDA", max_results=100, **fields).json()
    posts = {row["id"] for row in (*page["data"], *page["includes"]["tweets"])}
    users = {user["id"] for user in page["includes"]["users"]}
    assert len(posts) > 100
    billed = client.get("/_stats").json()["twitter"]["billed"]
    assert billed == pytest.approx(0.005 * len(posts) + 0.010 * len(users))


def test_an_edit_gives_a_post_a_new_id(client: TestClient, clock: Clock) -> None:
    """Both ids are one post: who counts both counts one opinion twice."""
    rows = truth(client, "twitter", "AAPL", 24 * 6)
    changed = next(row for row in rows if row["edited_at"] and not is_gone(row, START + 86_400))
    texts = []
    for moment, ids in ((changed["at"], changed["ids"][:1]), (changed["edited_at"], changed["ids"])):
        clock.at = datetime.fromisoformat(moment).timestamp() + 1
        page = ask.twitter(client, since_id=str(int(ids[-1]) - 1)).json()
        (row,) = [row for row in page["data"] if row["id"] in changed["ids"]]
        assert (row["id"], row["edit_history_tweet_ids"]) == (ids[-1], ids)
        texts.append(row["text"])
    assert texts[0] != texts[1]


def test_a_post_that_was_removed_is_found_no_more(client: TestClient, clock: Clock) -> None:
    """What was there yesterday and is not today is no fault of the reader."""
    gone = next(row for row in truth(client, "twitter", "NVDA", 48) if is_gone(row) and not row["edited_at"])
    since = {"since_id": str(int(gone["ids"][0]) - 1), "max_results": 100}
    assert gone["ids"][0] not in {row["id"] for row in _all(client, query="$NVDA", **since)}
    clock.at = datetime.fromisoformat(gone["at"]).timestamp() + 1
    assert gone["ids"][0] in {row["id"] for row in _all(client, query="$NVDA", **since)}


def test_a_long_post_is_cut_and_whole_in_its_note(client: TestClient) -> None:
    """Who scores `text` alone scores its first 280 characters."""
    rows = _all(client, query="$NVDA", max_results=100, **{"tweet.fields": "note_tweet"})
    long = [row for row in rows if "note_tweet" in row]
    assert long
    assert all(len(row["note_tweet"]["text"]) > 280 >= len(unescape(row["text"])) for row in long)


def test_the_basic_plan_has_no_cashtag_operator(simulator: Callable[..., TestClient]) -> None:
    """The provider's fallback query exists for this plan."""
    client = simulator(plans={"twitter": "basic"})
    refused = ask.twitter(client, "$AAPL")
    assert refused.status_code == 400
    assert "cashtag" in refused.json()["errors"][0]["message"]
    assert ask.twitter(client, '"$AAPL" OR AAPL').json()["meta"]["result_count"] == 10


def test_counts_add_up_to_what_search_finds(client: TestClient) -> None:
    """Asking how many costs less than reading them, and is only of use when it is true."""
    span = {"start_time": _iso(START - 86_400)}
    url = "/twitter/2/tweets/counts/recent"
    counts = client.get(url, params={"query": "$AAPL", **span}, headers=ask.BEARER).json()
    total = counts["meta"]["total_tweet_count"]
    assert total == sum(bucket["tweet_count"] for bucket in counts["data"]) == len(_all(client, **span))
    assert len(counts["data"]) == 24


def test_a_lookup_says_which_posts_are_gone(client: TestClient) -> None:
    """What was deleted after it was read is told nowhere else."""

    def look_up(*ids: str) -> httpx2.Response:
        return client.get("/twitter/2/tweets", params={"ids": ",".join(ids)}, headers=ask.BEARER)

    rows = [row for row in truth(client, "twitter", "NVDA", 48) if not row["edited_at"]]
    gone, there = ([row["ids"][0] for row in rows if is_gone(row) is wanted] for wanted in (True, False))
    page = look_up(*gone[:20], *there[:80]).json()
    assert {row["id"] for row in page["data"]} == set(there[:80])
    assert {error["resource_id"] for error in page["errors"]} == set(gone[:20]) != set()
    assert look_up(*map(str, range(101))).status_code == 400
