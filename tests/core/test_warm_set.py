"""Which answers are worth keeping warm, and how many there is room and money for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tbcache.fleet.expense import keeping_cost
from tbcache.fleet.warm_set import AskRate, WarmBound, WarmSet, ask_rates, warm_set
from tbcache.models import FetchRequest, Limit
from tbcache.models.price import Price
from tbcache.settings import BUILT_IN, Source
from tbcache.settings.capacity import capacity_of, pace_of

SOURCE = replace(BUILT_IN["stocktwits"], cache_ttl=300.0)
PLENTY = WarmBound(1000)


def request(symbol: str, hours: int = 24) -> FetchRequest:
    return FetchRequest("stocktwits", symbol, hours)


def asked(**asks: float) -> list[AskRate]:
    """So many asks in a TTL each."""
    return ask_rates(SOURCE, {f"stocktwits:{symbol}:24": each / 300 for symbol, each in asks.items()})


def symbols(found: WarmSet) -> list[str]:
    return [one.symbol for one in found.requests]


def test_what_is_asked_for_more_than_once_in_its_ttl_is_worth_a_call() -> None:
    """Less often each call saves less than one wait; the most wanted come first."""
    found = warm_set(SOURCE, [], asked(A=0.9, B=1.3, C=40), PLENTY)
    assert symbols(found) == ["C", "B"]


def test_what_is_listed_is_kept_warm_whoever_asks() -> None:
    """Somebody has said so; of what they have listed it is told what nobody asks for."""
    listed = [request("X"), request("Y")]
    found = warm_set(SOURCE, listed, asked(A=3, Y=9), WarmBound(2))
    assert symbols(found) == ["X", "Y"]
    assert (found.left_out, found.idle) == ((request("A"),), (request("X"),))


def test_what_there_is_no_room_for_is_left_out_from_the_end() -> None:
    """The one that is asked for most gains most by each call."""
    found = warm_set(SOURCE, [request("X")], asked(A=3, B=9, C=5), WarmBound(3))
    assert symbols(found) == ["X", "B", "C"]
    assert found.left_out == (request("A"),)


def test_places_in_a_request_that_goes_anyway_are_used() -> None:
    """Where one request asks for several symbols."""
    packed = replace(SOURCE, pack=3)
    found = warm_set(packed, [request("X")], asked(A=3, B=9, C=5), WarmBound(3))
    assert symbols(found) == ["X", "B", "C"]
    assert symbols(warm_set(packed, [request("X")], asked(A=3, B=9, C=5), WarmBound(6))) == [
        "X",
        "B",
        "C",
        "A",
    ]


def test_money_bounds_it_as_well() -> None:
    """A busy symbol that is too dear makes room for others."""
    costs = {request("X"): 1.0, request("A"): 3.0, request("B"): 9.0, request("C"): 1.0}
    found = warm_set(SOURCE, [request("X")], asked(A=3, B=9, C=5), WarmBound(1000, 5.0, costs.__getitem__))
    assert symbols(found) == ["X", "C", "A"]
    assert found.left_out == (request("B"),)


def test_the_hours_that_are_asked_for_most_stand_for_a_symbol() -> None:
    """One fetch answers for fewer hours as well, so that their asks count for it."""
    rates = {
        "stocktwits:A:24": 3.0,
        "stocktwits:A:1": 2.0,
        "stocktwits:A:168": 1.0,
        "stocktwits:A:timeline": 9.0,
        "stocktwits:A:9999": 9.0,
        "what is this": 9.0,
    }
    assert ask_rates(SOURCE, rates) == [AskRate(request("A"), 5.0)]


def test_the_share_of_the_tightest_limit_is_the_room() -> None:
    """Every request of a TTL keeps one symbol warm, or as many as it may ask for."""
    assert pace_of(SOURCE, 0.7) == pytest.approx(60 / 42)
    assert capacity_of(SOURCE, 0.7) == 210
    tight = replace(SOURCE, limits=(Limit(60, 60), Limit(100, 86400)))
    assert capacity_of(tight, 0.7) == 0
    assert capacity_of(replace(tight, cache_ttl=20_000.0), 0.7) == 16
    assert capacity_of(replace(SOURCE, pack=10), 0.7) == 2100


def test_keeping_an_answer_warm_costs_its_requests_and_its_new_items() -> None:
    """What nothing is known of costs its requests at least."""
    priced: Source = replace(SOURCE, price=Price(per_request=0.01))
    assert keeping_cost(priced, None) == pytest.approx(2.88)
    assert keeping_cost(replace(priced, pack=10), b"damaged") == pytest.approx(0.288)
