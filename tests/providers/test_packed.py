"""Several symbols in one request, as each upstream is asked for them, and whose each item is."""

from __future__ import annotations

from dataclasses import replace

import httpx2
import pytest

from tbcache.models import FetchRequest, Item
from tbcache.models.error import UpstreamBadRequest
from tbcache.providers.twitter import MOST_QUERY
from tbcache.settings import BUILT_IN, COMMON_SYMBOLS
from tests.providers.kit import NOW, provider
from tests.providers.test_twitter import NO_CASHTAGS, asking

SYMBOLS = ("AAPL", "BRK.B", "F")


def asked(source: str, *symbols: str) -> dict[str, str]:
    request = replace(FetchRequest(source, symbols[0]), others=symbols[1:])
    return dict(provider(source).request(request, None, NOW).params)


def test_one_query_asks_for_all() -> None:
    """By what each upstream has for it."""
    assert asked("twitter", *SYMBOLS)["query"] == "($AAPL OR $BRK.B OR $F) -is:retweet lang:en"
    assert asked("options", *SYMBOLS)["ticker_symbol"] == "AAPL,BRK.B,F"
    names = 'AAPL OR Apple OR iPhone OR "BRK.B" OR Berkshire OR "Berkshire Hathaway" OR F OR Ford'
    assert asked("reddit", *SYMBOLS)["q"] == f'{names} OR "Ford Motor"'


def test_a_query_has_no_more_symbols_than_x_takes() -> None:
    """A longer one is refused, with all that are in it; what is no cashtag would find nothing."""
    symbols = tuple(f"{chr(65 + n // 26)}{chr(65 + n % 26)}ABCD" for n in range(80))
    for own in ({}, {"query_filter": "x" * 400}):
        twitter = provider("twitter", **own)
        packed = twitter.packs(symbols)
        request = FetchRequest("twitter", packed[0], others=packed[1:])
        assert MOST_QUERY - 10 <= len(twitter.request(request, None, NOW).params["query"]) <= MOST_QUERY
    assert provider("twitter").packs(("AAPL", "BTC-USD", "0700.HK", "F")) == ("AAPL", "F")
    assert provider("twitter").packs(("BTC-USD", "AAPL")) == ("BTC-USD",)
    reddit = provider("reddit")
    packed = reddit.packs(COMMON_SYMBOLS)
    request = FetchRequest("reddit", packed[0], others=packed[1:])
    assert len(reddit.request(request, None, NOW).params["q"]) <= 512
    assert packed == COMMON_SYMBOLS
    assert len(reddit.packs(symbols)) < len(symbols)
    assert BUILT_IN["stocktwits"].pack == BUILT_IN["news"].pack == 1


@pytest.mark.parametrize(
    ("source", "text", "symbols", "expected"),
    [
        ("twitter", "$aapl up", (), {"AAPL"}),
        ("twitter", "up", ("AAPL", "F"), {"AAPL", "F"}),
        ("twitter", "AAPL, $FB and $BRK.B", (), {"BRK.B"}),
        ("reddit", "aapl's day, $F too", (), {"AAPL", "F"}),
        ("reddit", "AAPLE and FF", (), set()),
        ("reddit", "Berkshire buys more Apple", (), {"AAPL", "BRK.B"}),
        ("options", "", ("BRK.B",), {"BRK.B"}),
    ],
)
def test_each_symbol_gets_what_it_would_have_found(
    source: str, text: str, symbols: tuple[str, ...], expected: set[str]
) -> None:
    """A post for two is of both; one for another is no voice for the rest."""
    item = Item("1", NOW, text, symbols=symbols)
    assert {symbol for symbol in SYMBOLS if provider(source).is_of(item, symbol)} == expected


@pytest.mark.parametrize(
    ("text", "of"),
    [
        ("AAPL is on fire, and all of it is earned", ("AAPL",)),
        ("Short interest in $ON is up", ("ON",)),
        ("ON Semiconductor guides lower", ("ON",)),
    ],
)
def test_a_post_of_another_symbol_is_of_no_symbol_that_is_a_word_in_it(
    text: str, of: tuple[str, ...]
) -> None:
    """Asked for by itself ON had ten posts, and sixteen in one request with others."""
    item = Item("1", NOW, text)
    assert tuple(name for name in ("AAPL", "ON", "ALL") if provider("reddit").is_of(item, name)) == of


def test_a_plan_without_cashtags_is_asked_for_each_by_itself() -> None:
    """A word says too little of whose a post is; and the refusal is one, for the pipeline to see."""

    def refuse(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(400, json={"errors": [{"message": NO_CASHTAGS}]})

    twitter = asking(refuse)
    request = FetchRequest("twitter", "AAPL", others=("F",))
    with pytest.raises(UpstreamBadRequest):
        twitter.parse(twitter.send(twitter.request(request, None, NOW)))
    assert twitter.packs(("AAPL", "F")) == ("AAPL",)
