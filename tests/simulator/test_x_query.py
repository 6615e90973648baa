"""The queries of X, whatever they are."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbcache.embedded.simulator.x_query import DEEPEST, BadQuery, Subject, read

POST = Subject(
    text="$aapl next stop 300, says @gamma_reader",
    words=Subject.words_of("$aapl next stop 300, says @gamma_reader"),
    cashtags=frozenset({"aapl"}),
    mentions=frozenset({"gamma_reader"}),
    author=frozenset({"theta_owl", "20000007919"}),
    lang="en",
    kinds=frozenset({"quote"}),
    has=frozenset({"cashtags", "mentions"}),
)


@given(st.text('()-"$@#: ORANDorandlangisfrom:xé', max_size=512))
def test_any_text_is_read_or_refused(query: str) -> None:
    """A query comes from outside: what is wrong with it is a 400, and never a crash."""
    with contextlib.suppress(BadQuery):
        read(query)(POST)


@pytest.mark.parametrize("opening", ["(", "-", "-("])
def test_nesting_has_an_end(opening: str) -> None:
    """512 parentheses are a query of the right length, and deeper than Python likes to go."""
    with pytest.raises(BadQuery, match="too many nested groups"):
        read(opening * 500 + "$AAPL")
    deep = DEEPEST * "(" + "$AAPL" + DEEPEST * ")"
    assert read(deep)(POST)


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("$AAPL $MSFT OR stop", True),
        ("$AAPL ($MSFT OR stop)", True),
        ("$MSFT OR $TSLA next", False),
        ("($MSFT OR $AAPL) next", True),
        ("next -stop", False),
        ("next -(stop $MSFT)", True),
        ('"next stop"', True),
        ('"stop next"', False),
        ('-"stop next" aapl', True),
        ('"aapl"', True),
        ("AAP", False),
        ("@gamma_reader", True),
        ("from:theta_owl", True),
        ("from:20000007919", True),
        ("from:gamma_reader", False),
        ("to:gamma_reader next", False),
        ("next is:quote has:mentions -has:links lang:EN", True),
        ("next place:paris", False),
        ("next -place:paris", True),
    ],
)
def test_words_bind_before_or(query: str, is_found: bool) -> None:
    """As X documents it: a space binds tighter than OR, and only parentheses change that."""
    assert read(query)(POST) == is_found
