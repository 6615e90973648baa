"""What symbols are called, and whether a text speaks of one or of something that is spelled alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bench import relevance
from tbcache.models import Item
from tbcache.models.error import ConfigurationError
from tbcache.models.names import named
from tbcache.scoring import voice_rules
from tbcache.scoring.voices import weigh
from tbcache.settings import Settings

MEANT = [
    ("AAPL", "Apple unveils a thinner phone"),
    ("AAPL", "apple stock at a new high"),
    ("AAPL", "AAPL to report next week"),
    ("AAPL", "Suppliers of the iPhone maker warn"),
    ("AAPL", "Shares of the company fell in late trading"),
    ("SPY", "SPY holds 500 into the close"),
    ("SPY", "spy games aside, $spy calls are cheap"),
    ("META", "META names new head of operations"),
    ("META", "Zuckerberg defends spending"),
    ("META", "Who knows when the META webcast begins?"),
    ("META", "the META is cheap, and so are its puts"),
    ("META", "META is quiet after the update"),
    ("SPY", "Nobody knows where the SPY is heading"),
    ("F", "Ford recalls trucks"),
    ("F", "Long F, the dividend is fine"),
    ("F", "Bought F calls for March"),
    ("ALL", "Allstate raises its rates"),
    ("ALL", "Analysts like ALL and PGR here"),
    ("IT", "Gartner beats on revenue"),
    ("ON", "ON shares fall on weak guidance"),
    ("NOW", "ServiceNow wins a contract"),
    ("V", "Visa and rivals settle over fees"),
    ("AAPL", "aapl to the moon"),
    ("AMD", "amd looks ready"),
    ("GM", "gm shares are cheap"),
    ("ZZTOP", "The board met on Monday"),
]
NOT_MEANT = [
    ("AAPL", "Grandma's Apple pie is the best"),
    ("AAPL", "an apple a day keeps the doctor away"),
    ("SPY", "A spy was arrested at the embassy"),
    ("SPY", "I SPY WITH MY LITTLE EYE"),
    ("META", "that is so meta"),
    ("META", "Fans argue about the META after the update"),
    ("META", "the meta of this game has shifted since the patch"),
    ("F", "got an F in maths"),
    ("F", "F in the chat"),
    ("ALL", "I want it ALL and I want it now"),
    ("ALL", "we all know what happened"),
    ("IT", "DO IT NOW"),
    ("IT", "he works in IT support"),
    ("ON", "GAME ON"),
    ("NOW", "leave NOW or regret"),
    ("V", "my Visa application was refused"),
    ("AMZN", "fires in the Amazon rainforest"),
    ("SNOW", "snow in the mountains, roads are closed"),
    ("CAT", "my cat sold me out"),
]


@pytest.mark.parametrize(("symbol", "text"), MEANT)
def test_what_names_a_symbol_is_about_it(symbol: str, text: str) -> None:
    """ "AAPL" misses the articles that say Apple."""
    assert named(symbol).is_meant(text)


@pytest.mark.parametrize(("symbol", "text"), NOT_MEANT)
def test_what_is_spelled_alike_is_not_about_it(symbol: str, text: str) -> None:
    """Keyword searches find SPY, META, F, ALL, IT and ON in whatever people write."""
    assert not named(symbol).is_meant(text)


def _dropped(text: str, symbol: str | None, **facts: Any) -> dict[str, float]:
    item = Item("1", datetime(2026, 3, 2, tzinfo=UTC), text, **facts)
    return dict(weigh([item], voice_rules(names={"SQ": "Block|Cash App"}), symbol).dropped)


def test_what_is_not_about_the_symbol_does_not_count() -> None:
    """A post on a spy is no voice on the market."""
    assert _dropped("A spy was arrested", "SPY") == {"relevance": 1.0}
    assert _dropped("A spy was arrested", None) == {}
    assert _dropped("A spy was arrested", "SPY", symbols=("SPY",)) == {}
    assert _dropped("", "SPY", score=1.0) == {}


def test_what_is_spelled_alike_is_told_from_what_is_meant_in_what_a_search_brings() -> None:
    """A keyword search brings pies with the company, and an answer must be about one of them."""
    for source in relevance.SOURCES:
        found = relevance.summed([relevance.measure(source, symbol, 1) for symbol in relevance.SYMBOLS])
        assert found.found > found.meant > 100
        assert found.precision >= 0.95
        assert found.recall >= 0.95


def test_names_of_ones_own_go_before_those_that_are_shipped() -> None:
    """Companies change their names, and small ones are in no table."""
    own = Settings.load({"TBCACHE_NAMES": "SQ=Block|Cash App,ZZ=Zigzag"}).names
    assert named("SQ", own).names == ("Block", "Cash App")
    assert named("ZZ", own).is_meant("Zigzag opens a shop")
    assert named("SQ").names == ("Square*", "Block Inc")


def test_ones_own_entry_says_that_a_symbol_is_a_word() -> None:
    """A ticker that is a word, and in no table, answered for the word: all that was said of the path."""
    own = Settings.load({"TBCACHE_NAMES": "WAY~=Waystar,$me*=23andMe"}).names
    assert named("WAY", own).query == '"$WAY" OR Waystar'
    assert [named("WAY", own).is_meant(text) for text in ("The way up", "WAY beats, Way too much")] == [
        False,
        True,
    ]
    assert [named("ME", own).is_meant(text) for text in ("Not ME, you", "ME shares fall")] == [False, True]
    assert named("SQ", {"SQ*": "Block"}).is_stressed


def test_ones_own_mark_goes_before_the_one_that_is_shipped() -> None:
    """Who searches on a source where nobody means the word had no way to say so."""
    own = Settings.load({"TBCACHE_NAMES": "NOW!=ServiceNow,OPEN~=Opendoor,UP=Wheels Up"}).names
    assert named("NOW").is_stressed
    assert [
        (one.is_word, one.is_stressed) for one in (named(name, own) for name in ("NOW", "OPEN", "UP"))
    ] == [
        (False, False),
        (True, False),
        (True, True),
    ]
    assert named("NOW", own).is_meant("NOW is at a new high")


@pytest.mark.parametrize(
    ("symbol", "text", "is_meant"),
    [
        ("DOW", "Dow falls 500 points as stocks slump", False),
        ("DOW", "DOW falls 500 points as stocks slump", False),
        ("DOW", "DOW down 400, NASDAQ down 2%", False),
        ("DOW", "S&P and DOW at highs, stocks rally", False),
        ("DOW", "DOW 40,000! Stocks rally", False),
        ("DOW", "DOW earnings beat as the Dow falls", True),
        ("PM", "UK PM resigns after vote", False),
        ("PM", "Market close 4:00 PM ET", False),
        ("PM", "PM raises its dividend at 4 PM", True),
        ("AM", "8:30 AM CPI, futures down 1%", False),
    ],
)
def test_an_index_and_a_time_of_day_are_no_company(symbol: str, text: str, is_meant: bool) -> None:
    """What was said of the index was the answer for the chemical company, with a confidence near 1."""
    assert named(symbol).is_meant(text) is is_meant


@pytest.mark.parametrize(
    "entry",
    [
        "SQ~=Block,SQ=Cash",
        "SQ~*=Block",
        "~=Block",
        "SQ=*",
        "SQ=|",
        "SQ=Block|",
        'SQ="Block" Inc',
        "SQ=Block,SQ=Cash",
        "SQ",
    ],
)
def test_names_that_make_no_query_are_refused(entry: str) -> None:
    """A query with half a quotation mark is refused by the upstream at each fetch; a name was forgotten."""
    with pytest.raises(ConfigurationError, match="TBCACHE_NAMES"):
        Settings.load({"TBCACHE_NAMES": entry})


def test_a_long_text_of_one_name_is_looked_at_once() -> None:
    """Each word was compared with each name: seconds for each such post, at each answer."""
    text = "the nasdaq 100 " * 2600
    assert not named("QQQ").is_meant(text)
    assert named("QQQ").is_meant(f"{text} and the shares of it")


def test_a_query_asks_for_the_names() -> None:
    """A keyword search is asked for what people call it, and a word alone is not asked for."""
    assert named("AAPL").query == "AAPL OR Apple OR iPhone"
    assert named("SPY").query == '"$SPY" OR "SPDR S&P 500" OR "S&P 500"'
    assert named("ZZ").query == "ZZ"
    assert named("IBM").query == "IBM"
    assert len(named("ZZ", {"ZZ": "|".join(f"Zigzag {k}" for k in range(99))}).query) <= 500
