"""One symbol from several sources: each by how far its own answer may be trusted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbcache.fetch.combine import combine
from tbcache.models import Item, SymbolSentiment
from tbcache.models.error import InvalidRequest
from tbcache.models.request import FetchRequest
from tbcache.providers import get_provider, get_symbol
from tbcache.scoring import aggregate
from tests.timeline.kit import examples

NOW = datetime(2026, 7, 28, 12, tzinfo=UTC)


def answer(source: str, *scores: float, covered: float = 24.0) -> SymbolSentiment:
    items = [Item(f"{n}", NOW, f"{n}") for n in range(len(scores))]
    since = NOW - timedelta(hours=covered)
    facts = {"as_of": NOW, "complete": covered == 24, "since": since, "reason": None, "scorer": "any/1"}
    return aggregate(FetchRequest(source, "AAPL"), items, scores, voices=(), **facts)  # type: ignore[arg-type]


def test_who_is_surer_counts_more() -> None:
    """A thousand posts that agree, and one headline, are not two opinions of one weight."""
    many, one = answer("twitter", *[0.5] * 100), answer("news", -0.9)
    found = combine("AAPL", 24, {"twitter": many, "news": one})
    shares = {part.source: part.share for part in found.parts}
    assert shares["twitter"] > 4 * shares["news"] > 0
    assert found.score == pytest.approx(0.5 * shares["twitter"] - 0.9 * shares["news"], abs=1e-3)


def test_one_source_alone_is_as_sure_as_it_is() -> None:
    """To put one part together must not change it."""
    only = answer("reddit", 0.1, 0.5, -0.2, 0.7, covered=6)
    found = combine("AAPL", 24, {"reddit": only, "news": "news is off"})
    assert found.score == only.score
    assert found.confidence == pytest.approx(only.confidence, abs=2e-4)
    assert found.standard_error == only.standard_error
    assert found.as_of == only.as_of


def test_sources_that_contradict_each_other_are_less_sure() -> None:
    """Each is sure of itself, and they cannot both be right."""
    bull, bear, echo = (answer("any", *[score] * 100) for score in (0.5, -0.5, 0.5))
    apart = combine("AAPL", 24, {"twitter": bull, "reddit": bear})
    together = combine("AAPL", 24, {"twitter": bull, "reddit": echo})
    assert apart.confidence < 0.2 < 0.9 < together.confidence
    assert (apart.standard_error or 0) > 0.4
    assert together.confidence > (bull.confidence or 0)


def test_each_part_is_shown_and_none_without_a_score_counts() -> None:
    """Who reads the figure sees what it is made of, and what is missing."""
    silent, old = answer("news"), replace(answer("stocktwits", 0.5), confidence=None)
    found = combine("AAPL", 24, {"news": silent, "stocktwits": old, "options": "options: refused"})
    assert (found.score, found.confidence, found.standard_error, found.as_of) == (None, 0.0, None, None)
    assert [(part.sentiment, part.share) for part in found.parts] == [(silent, 0), (old, 0), (None, 0)]
    assert found.parts[-1].missing == "options: refused"
    assert found.as_dict()["parts"][0]["sentiment"]["covered_hours"] == 24.0


def test_a_part_without_a_share_says_why() -> None:
    """Three sources with 0 items and not a word look like three that are broken."""
    delayed = replace(answer("news", covered=0), reason="plan_delay", since=None)
    parts = {
        "twitter": answer("twitter"),
        "news": delayed,
        "reddit": replace(answer("reddit"), since=None, complete=False),
        "stocktwits": replace(answer("stocktwits", 0.5), score=None),
        "options": answer("options", 0.5),
    }
    assert [part.missing for part in combine("ZZZZ", 24, parts).parts] == [
        "no items in 24 hours",
        "the 24 hours lie within the delay of its plan",
        "nothing of the 24 hours is known",
        "none of its items counts and has a score",
        None,
    ]


scores = st.lists(st.floats(-1, 1), max_size=12)


@examples
@given(st.lists(st.tuples(scores, st.integers(0, 24)), max_size=5))
def test_what_is_put_together_stays_in_its_bounds(sources: list[tuple[list[float], int]]) -> None:
    """Whatever the sources say: it is used as a weight again."""
    parts = {f"s{n}": answer(f"s{n}", *said, covered=hours) for n, (said, hours) in enumerate(sources)}
    found = combine("AAPL", 24, parts)
    assert 0 <= found.confidence <= 1
    assert found.score is None or -1 <= found.score <= 1
    assert sum(part.share for part in found.parts) == pytest.approx(float(found.score is not None), abs=1e-3)


@pytest.mark.parametrize("sources", ["twitter", []])
def test_sources_are_a_list_of_names(sources: Any) -> None:
    """A name alone was read letter by letter: "unknown source 't'"."""
    with pytest.raises(InvalidRequest, match=r"should be names of sources, like \['twitter', 'news'\]"):
        get_symbol("AAPL", sources=sources)


def test_the_least_coverage_is_a_number() -> None:
    """A setting that was read from a file as text ended in an error of the language."""
    with pytest.raises(InvalidRequest, match=r"min_coverage '0\.8' must be a share"):
        get_symbol("AAPL", min_coverage="0.8")  # type: ignore[arg-type]


def test_what_is_to_come_is_refused_of_several_sources_as_of_one() -> None:
    """It was an answer without a score or a word that a program looks at."""
    with pytest.raises(InvalidRequest, match="is still to come"):
        get_symbol("AAPL", as_of=datetime.now(UTC) + timedelta(days=1))


def test_what_has_passed_since_an_old_answer_is_not_known() -> None:
    """In an outage an answer of an hour ago knows nothing of the last hour."""
    provider = get_provider("stocktwits")
    now = datetime.now(UTC)
    for age, is_enough in (0, True), (240, True), (3700, False):
        answer = found("NVDA", now - timedelta(seconds=age), hours=1)
        assert (provider.covering(answer, 0.8) is answer) is is_enough
    answer = found("NVDA", now - timedelta(seconds=3700), hours=24)
    assert provider.covering(answer, 0.8) is answer
    # Whoever sets no least gets an answer however old it is.
    assert provider.covering(old := found("NVDA", now - timedelta(hours=3), hours=1), 0.0) is old
    assert provider.covering(answer, 0.8, answer.as_of + timedelta(hours=5)) is None


def test_a_part_says_why_it_is_an_older_answer() -> None:
    """A source that refuses counts with what it said before, and whoever trades on it is told."""
    both = {"twitter": answer("twitter", *[0.5] * 9), "news": answer("news", *[0.4] * 9)}
    parts = combine("AAPL", 24, both, {"news": "Service Unavailable"}).parts
    assert [part.error for part in parts] == [None, "Service Unavailable"]


def found(symbol: str, as_of: datetime, hours: int) -> SymbolSentiment:
    return SymbolSentiment("stocktwits", symbol, hours, 0.5, 3, 2, 1, 0, as_of, True, None, "any/1")


class Whole:
    """As a whole number of numpy is one."""

    def __index__(self) -> int:
        return 6


@pytest.mark.parametrize("hours", [6.0, Whole()])
def test_hours_of_an_array_are_hours(hours: Any) -> None:
    """A column of a frame has numbers of its own type: 24.0 and np.int64(24) were refused."""
    request = FetchRequest("news", "AAPL", hours)
    assert (request.hours, request.key) == (6, "news:AAPL:6")
    assert type(request.hours) is int
    assert get_provider("news").source.request("AAPL", hours) == request


@pytest.mark.parametrize("hours", [0, 0.5, float("nan"), float("inf"), True, "6", None])
def test_what_is_no_number_of_hours_is_refused(hours: Any) -> None:
    """It would be part of a key."""
    with pytest.raises(InvalidRequest, match="must be a whole number of at least 1"):
        FetchRequest("news", "AAPL", hours)
