"""What the streams are made of, by their ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache import FetchRequest, get_provider
from tbcache.embedded.simulator.chatter import Person, view
from tbcache.embedded.simulator.mix import MIXES
from tbcache.embedded.simulator.stream import open_stream
from tbcache.io import utc_now
from tests.simulator import ask
from tests.simulator.conftest import START, Clock, is_gone, truth
from tests.soak import is_found

SOURCES = ("twitter", "reddit", "news", "stocktwits")
Row = dict[str, Any]


def _week(client: TestClient, source: str) -> list[Row]:
    return [row for symbol in ("NVDA", "AAPL") for row in truth(client, source, symbol, 72)]


@pytest.mark.parametrize("source", SOURCES)
def test_a_stream_holds_what_its_mix_says(client: TestClient, source: str) -> None:
    """Shares as recorded: whoever tunes filters on other ones tunes them for another world."""
    rows, mix = _week(client, source), MIXES[source]
    kinds = Counter(row["kind"] for row in rows)

    def share(is_one: Callable[[Row], bool]) -> float:
        return sum(map(is_one, rows)) / len(rows)

    for kind in ("retweet", "quote", "reply", "copy", "spam"):
        assert kinds[kind] / len(rows) == pytest.approx(getattr(mix, kind), rel=0.3, abs=0.03)
    assert share(lambda row: len(row["symbols"]) >= 3) == pytest.approx(mix.crowd, rel=0.3, abs=0.04)
    assert share(lambda row: row["lang"] != "en") == pytest.approx(mix.foreign, rel=0.4, abs=0.03)
    assert share(lambda row: row["removed_at"] is not None) == pytest.approx(mix.removed, rel=0.4, abs=0.03)
    assert any(row["edited_at"] for row in rows) == (mix.edited > 0)


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_seed_is_the_same_world(simulator: Callable[..., TestClient], source: str) -> None:
    """A bench is compared with the one of last month; a restart must not change what was posted."""
    first, second, other = (truth(simulator(seed=seed), source, "AAPL") for seed in (3, 3, 4))
    assert first == second
    assert first != other


@pytest.mark.parametrize("source", ["twitter", "reddit", "stocktwits"])
def test_what_repeats_or_answers_comes_after_it(client: TestClient, source: str) -> None:
    """A copy before its original would be the original."""
    rows = {row["ids"][0]: row for row in truth(client, source, "NVDA", 168)}
    about = [(row, rows[row["of"]]) for row in rows.values() if row["of"] in rows]
    assert about
    for row, of in about:
        assert of["at"] < row["at"]
        assert of["kind"] == "original"
        if row["kind"] in ("retweet", "copy"):
            assert (row["stance"], row["lang"], row["symbols"]) == (of["stance"], of["lang"], of["symbols"])


def test_a_copy_has_the_words_of_another_in_another_name(client: TestClient) -> None:
    """One opinion in forty names is one opinion."""
    texts = {}
    cursor = None
    for _ in range(8):
        page = ask.stocktwits(client, "NVDA", **({"max": cursor} if cursor else {})).json()
        texts |= {str(message["id"]): message for message in page["messages"]}
        cursor = page["cursor"]["max"]
    copies = [row for row in truth(client, "stocktwits", "NVDA") if row["kind"] == "copy"]
    both = [(texts[row["ids"][0]], texts[row["of"]]) for row in copies
            if row["ids"][0] in texts and row["of"] in texts]  # fmt: skip
    assert both
    assert all(copy["body"] == of["body"] for copy, of in both)
    assert any(copy["user"] != of["user"] for copy, of in both)


def test_people_do_not_share_their_sentences(client: TestClient) -> None:
    """What two share word for word is a copy, as the truth says: a rule of copies is judged by it."""
    known = {row["ids"][0]: row for row in truth(client, "twitter", "NVDA", 72)}
    found, params = dict[str, str](), {"max_results": 100, "tweet.fields": "created_at"}
    for _ in range(3):
        page = ask.twitter(client, "$NVDA", **params).json()
        found |= {post["id"]: post["text"] for post in page["data"]}
        params["next_token"] = page["meta"]["next_token"]
    own = [text for id, text in found.items() if id in known and known[id]["kind"] == "original"
           and known[id]["lang"] == "en" and known[id]["symbols"] == ["NVDA"]]  # fmt: skip
    assert len(own) > 20
    assert len(set(own)) > 0.95 * len(own)


def test_an_author_has_a_leaning_that_turns(client: TestClient) -> None:
    """Where all think alike, it does not matter whether one of them counts a hundred times."""
    stream = open_stream(7, "twitter", "NVDA", 600)
    people = [Person(number) for number in range(50)]
    now = [view(person, stream, START) for person in people]
    later = [view(person, stream, START + 20 * 86_400) for person in people]
    assert max(now) - min(now) > 0.8
    assert max(abs(after - before) for before, after in zip(now, later, strict=True)) > 0.8


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_late_is_found_later(simulator: Callable[..., TestClient], clock: Clock, source: str) -> None:
    """A refresh that asks from the newest item on never sees it."""
    client = simulator(plans={"news": "paid"})
    late = [row for row in truth(client, source, "NVDA", 72) if row["found_at"] > row["at"]
            and not (row["edited_at"] or row["removed_at"]) and row["kind"] != "retweet"]  # fmt: skip
    assert late
    row = late[0]
    query = {"twitter": "$NVDA", "news": "NVDA OR Nvidia"}.get(source, "NVDA")
    shown = []
    for moment in (row["at"], row["found_at"]):
        clock.at = datetime.fromisoformat(moment).timestamp() + 0.5
        shown.append(row["ids"][0] in ask.EACH[source](client, query).text)
    assert shown == [False, row["place"] is None or row["place"] in ask.SUBREDDITS or source == "news"]


def test_for_an_hour_of_some_days_far_more_is_said_and_much_of_it_is_spam(client: TestClient) -> None:
    """An hour of one wave weighs as much as a night of everybody else."""
    rows = [row for row in truth(client, "stocktwits", "NVDA", 360) if row["symbols"] == ["NVDA"]]
    hours = Counter(row["at"][:13] for row in rows)
    busiest, most = hours.most_common(1)[0]
    assert most > 3 * len(rows) / 360
    spam = sum(row["kind"] == "spam" for row in rows if row["at"].startswith(busiest))
    assert spam > 0.2 * most


def test_what_is_spelled_alike_is_found_by_its_word_and_is_about_no_symbol(
    simulator: Callable[..., TestClient],
) -> None:
    """A search for "apple" finds pies; whoever counts them has to be told from whoever does not."""
    client = simulator(plans={"news": "paid"})
    known = {row["ids"][0]: row for row in truth(client, "news", "AAPL", 72)}
    alike = {id for id, row in known.items() if row["kind"] == "lookalike"}
    assert alike
    assert {(len(known[id]["symbols"]), known[id]["stance"]) for id in alike} == {(0, "neutral")}

    def found(query: str) -> set[str]:
        articles = ask.news(client, query, pageSize=100, **{"from": "2026-05-31T00:00:00"}).json()["articles"]
        return {article["url"] for article in articles}

    assert found("AAPL OR Apple") & alike
    assert not found("AAPL") & alike
    assert len(found("AAPL") & known.keys()) < len(found("AAPL OR Apple") & known.keys() - alike)


def test_spam_is_a_few_authors_in_bursts(client: TestClient) -> None:
    """One author has written 17 of a page of 30: a mean over messages is a mean over him."""
    rows = truth(client, "stocktwits", "NVDA", 72)
    spammers = Counter(row["author"] for row in rows if row["kind"] == "spam")
    honest = {row["author"] for row in rows if row["kind"] != "spam"}
    assert len(spammers) < 30 < len(honest)
    assert honest.isdisjoint(spammers)
    pages = [Counter(row["author"] for row in rows[i : i + 30]) for i in range(0, len(rows), 30)]
    assert max(count for page in pages for author, count in page.items() if author in spammers) >= 8


@pytest.mark.parametrize("source", SOURCES)
def test_a_post_of_several_symbols_is_one_post_in_the_stream_of_each(client: TestClient, source: str) -> None:
    """It is billed once and counted once, whoever asks for it."""
    streams = {symbol: truth(client, source, symbol, 72) for symbol in ("NVDA", "TSLA", "MSFT")}
    shared = [row for row in streams["NVDA"] if {"NVDA", "TSLA"} <= set(row["symbols"])]
    assert shared
    for row in shared:
        assert row in streams["TSLA"]
        assert (row in streams["MSFT"]) == ("MSFT" in row["symbols"])


def test_messages_name_all_their_symbols(client: TestClient) -> None:
    """38% of recorded messages name three tickers or more; the list says which."""
    known = {row["ids"][0]: row for row in truth(client, "stocktwits", "NVDA")}
    messages = ask.stocktwits(client, "NVDA").json()["messages"]
    for message in messages:
        named = [symbol["symbol"] for symbol in message["symbols"]]
        assert named == known[str(message["id"])]["symbols"]
        assert all(f"${symbol}" in message["body"] for symbol in named)
    assert any(len(message["symbols"]) >= 3 for message in messages)


def test_a_wire_story_stands_on_several_sites(simulator: Callable[..., TestClient]) -> None:
    """Ten sites with one agency's words are one piece of news."""
    client = simulator(plans={"news": "paid"})
    known = {row["ids"][0]: row for row in truth(client, "news", "NVDA", 72)}
    articles = {article["url"]: article for article in ask.news(client, "NVDA").json()["articles"]}
    both = [(articles[row["ids"][0]], articles[row["of"]]) for row in known.values()
            if row["ids"][0] in articles and row["of"] in articles]  # fmt: skip
    assert both
    for copy, of in both:
        assert copy["title"] == of["title"]
        assert copy["source"]["name"] != of["source"]["name"]


def test_news_are_in_the_language_that_was_asked_for(simulator: Callable[..., TestClient]) -> None:
    """Who asks for English gets no Turkish; who asks for nothing gets both."""
    client = simulator(plans={"news": "paid"})
    known = {row["ids"][0]: row["lang"] for row in truth(client, "news", "NVDA", 72)}

    def languages(**params: str) -> set[str]:
        articles = ask.news(client, "NVDA", pageSize=100, **params).json()["articles"]
        return {known[article["url"]] for article in articles if article["url"] in known}

    assert languages(language="en") == {"en"}
    assert languages() > {"en"}
    assert languages(language="de") == {"de"}


def test_the_truth_tells_where_an_item_stands(simulator: Callable[..., TestClient]) -> None:
    """Only with it can be told what a search in four subreddits has to find."""
    client = simulator(plans={"news": "paid"})
    places = {row["ids"][0]: row["place"] for row in truth(client, "reddit", "NVDA")}
    for child in ask.reddit(client, "NVDA", limit=100).json()["data"]["children"]:
        assert places[child["data"]["name"]] == child["data"]["subreddit"]
    assert all(row["place"] in row["ids"][0] for row in truth(client, "news", "NVDA"))
    assert {row["place"] for row in truth(client, "twitter", "NVDA")} == {None}


def test_what_is_no_question_for_the_truth_is_said_in_one_line(client: TestClient) -> None:
    """Options are trades: nobody wrote them."""
    for path in ("options/AAPL", "redit/AAPL", "reddit/AAPL?hours=many", "reddit/AAPL?hours=721"):
        answer = client.get(f"/_truth/{path}")
        assert answer.status_code == 422
        assert answer.json()["error"].startswith("ask for /_truth/SOURCE/SYMBOL?hours=24")
    answer = client.get("/_truth/reddit/A$PL")
    assert (answer.status_code, answer.json()["error"].split(" is no ")[0]) == (422, "symbol 'A$PL'")


def test_the_truth_costs_nothing(client: TestClient) -> None:
    """It is for whoever measures, and must not show in what is measured."""
    truth(client, "twitter", "AAPL")
    assert client.get("/_stats").json()["twitter"]["accepted"] == 0


def test_times_of_the_truth_are_those_of_the_answers(client: TestClient) -> None:
    """Both sides of a comparison have to mean the same item."""
    known = {row["ids"][0]: row for row in truth(client, "stocktwits", "AAPL")}
    for message in ask.stocktwits(client).json()["messages"]:
        row = known[str(message["id"])]
        assert datetime.fromisoformat(message["created_at"]) == datetime.fromisoformat(row["at"])
        assert message["user"]["username"] == row["author"]


@pytest.mark.parametrize("source", ["reddit", "news"])
def test_what_our_search_finds_of_look_alikes_follows_from_the_truth(
    simulator: Callable[..., TestClient], source: str
) -> None:
    """Else a test of whole answers cannot tell which of them have to be in one: some say "apples" alone."""
    client = simulator(plans={"news": "paid"})
    sent = get_provider(source).request(FetchRequest(source, "AAPL", 24), None, utc_now())
    q = sent.params["q"]
    rows = truth(client, source, "AAPL", 72)
    if source == "news":
        found = ask.news(client, q, pageSize=100, language="en").json()["articles"]
        got, texts = {each["url"] for each in found}, {row["ids"][-1]: row["text"] for row in rows}
        assert all(each["title"] in texts[each["url"]] for each in found if each["url"] in texts)
    else:
        got = {each["data"]["name"] for each in ask.reddit(client, q, limit=100).json()["data"]["children"]}
    oldest = min(row["at"] for row in rows if row["ids"][-1] in got)
    alike = [row for row in rows if row["kind"] == "lookalike" and oldest < row["at"]]
    asked = [
        row
        for row in alike
        if is_found(row["text"], source, "AAPL")
        and datetime.fromisoformat(row["found_at"]).timestamp() <= START
        and (row["place"] in ask.SUBREDDITS or source == "news")
        and not is_gone(row)
    ]
    assert {row["ids"][-1] for row in asked} == {row["ids"][-1] for row in alike} & got
    assert 0 < len(asked) < len(alike)
