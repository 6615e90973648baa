"""Which answers are worth keeping warm. Nothing here asks Redis or a clock.

An answer that is fetched when somebody asks costs a call, for which that caller waits, once in a TTL and the
time to the next ask: rate / (1 + rate x TTL) calls a second. One that is always refreshed costs 1 / TTL calls
a second, and nobody waits. That is 1 / (TTL x (1 + rate x TTL)) calls more, so each call more saves rate x
TTL waits. Therefore the answers with the most asks in a TTL come first, and one that is asked for less than
once in its TTL is not worth a call. That rate is an estimate, and refreshes begin early: it is to be somewhat
more than once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tbcache.models import FetchRequest
from tbcache.models.error import InvalidRequest
from tbcache.settings import Source
from tbcache.settings.capacity import capacity_of, requests_of, shortage_of

#: So many asks in a TTL make an answer worth a call.
WORTH = 1.2


class WarmSet(NamedTuple):
    """What is kept warm, the first before the others: what is listed, then what is asked for most.

    ``left_out`` would be worth it too, and there is no room for it; ``idle`` is listed, and would not be kept
    warm for being asked for.
    """

    requests: tuple[FetchRequest, ...]
    left_out: tuple[FetchRequest, ...] = ()
    idle: tuple[FetchRequest, ...] = ()


class AskRate(NamedTuple):
    """How often a second an answer is asked for."""

    request: FetchRequest
    rate: float


class WarmBound(NamedTuple):
    """How many symbols the limits have room for, and how much money a day (None: no bound); ``cost`` is what
    keeping an answer warm for a day costs. Money in US dollars.
    """

    symbols: int
    dollars: float | None = None
    cost: Callable[[FetchRequest], float] = lambda request: 0.0


def request_of(source: Source, key: str) -> FetchRequest | None:
    """The request of a cache key; None where the key is not that of a symbol's answer."""
    _, symbol, hours = (*key.split(":"), "", "")[:3]
    try:
        return source.request(symbol, int(hours))
    except (InvalidRequest, ValueError):
        return None


def ask_rates(source: Source, rates: Mapping[str, float]) -> list[AskRate]:
    """What is asked for, a request for each symbol, the most wanted first; ``rates`` are asks a second by
    cache key.

    Of a symbol it is the hours that are asked for most: its fetch answers for fewer hours as well.
    """
    of_symbol = defaultdict[str, list[AskRate]](list)
    for key, rate in rates.items():
        if (request := request_of(source, key)) is not None:
            of_symbol[request.symbol].append(AskRate(request, rate))
    found = map(_together, of_symbol.values())
    return sorted(found, key=lambda one: (-one.rate, one.request.key))


def warm_set(
    source: Source, listed: Sequence[FetchRequest], asked: Iterable[AskRate], bound: WarmBound
) -> WarmSet:
    """What to keep warm of ``source``.

    What is listed is kept warm whoever asks for it: somebody has said so. It uses up the bound first.
    """
    ranked = list(asked)
    rates = {one.request: one.rate for one in ranked}
    worthy = [one.request for one in ranked if one.rate * source.cache_ttl >= WORTH]
    known = set(listed)
    chosen, left_out = _within(source, listed, [one for one in worthy if one not in known], bound)
    idle = [one for one in listed if rates.get(one, 0.0) * source.cache_ttl < WORTH]
    return WarmSet((*listed, *chosen), left_out, tuple(idle))


def _together(of_symbol: Sequence[AskRate]) -> AskRate:
    most = max(of_symbol, key=lambda one: (one.rate, one.request.hours))
    served = (one.rate for one in of_symbol if one.request.hours <= most.request.hours)
    return AskRate(most.request, sum(served))


def _within(
    source: Source, listed: Sequence[FetchRequest], worthy: Sequence[FetchRequest], bound: WarmBound
) -> tuple[tuple[FetchRequest, ...], tuple[FetchRequest, ...]]:
    """Those of ``worthy`` that the bound has room for beside what is listed, and the others."""
    pack = source.pack if source.is_packed else 1
    # A request that goes anyway has places left.
    left = max(0, bound.symbols - requests_of(source, len(listed)) * pack) + (-len(listed)) % pack
    money = float("inf") if bound.dollars is None else bound.dollars - sum(map(bound.cost, listed))
    chosen, left_out = list[FetchRequest](), list[FetchRequest]()
    for one in worthy:
        cost = bound.cost(one)
        has_room = len(chosen) < left and cost <= money
        (chosen if has_room else left_out).append(one)
        money -= cost if has_room else 0.0
    return tuple(chosen), tuple(left_out)


def shortages_of(source: Source, listed: int, warm: WarmSet, share: float) -> Iterator[str]:
    """A line for each reason why ``source`` has not all warm that should be: ``listed`` symbols, and those
    that are asked for often enough.
    """
    short = shortage_of(source, listed, share)
    if short is not None:
        yield short
    if warm.left_out:
        yield _left_out(source, listed, warm, share)
    if warm.idle and (short is not None or warm.left_out):
        yield (
            f"{source.name}: {len(warm.idle)} of the {listed} symbols listed are asked for less than "
            f"{WORTH:g} times in {source.cache_ttl:g} s: each call for them saves less than one wait"
        )


def _left_out(source: Source, listed: int, warm: WarmSet, share: float) -> str:
    asked = len(warm.requests) - listed + len(warm.left_out)
    limits = " and ".join(map(str, source.limits))
    bounds = f"{share:.0%} of {limits} can keep {capacity_of(source, share)} symbols warm"
    if source.price.per_page and source.daily_budget is not None:
        bounds += f", and {share:.0%} of ${source.daily_budget:g} a day what they cost"
    return (
        f"{source.name}: {asked} symbols beside the {listed} listed are asked for at least {WORTH:g} times "
        f"in {source.cache_ttl:g} s; {bounds}: {len(warm.left_out)} are fetched when somebody asks"
    )
