"""What of a source cannot be kept warm, in words, with the arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

from tbcache.fleet.warm_set import WORTH, WarmSet
from tbcache.settings import Source
from tbcache.settings.capacity import capacity_of, shortage_of


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
