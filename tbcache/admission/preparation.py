"""The constants that all asks of a source share. They are made once, because each ask would pay for them."""

from __future__ import annotations

from typing import NamedTuple

from tbcache.admission.script import FetchQueue, fetch_queue
from tbcache.limiter import Limiter
from tbcache.settings import Source
from tbcache.store.wire import pack_limits, to_micros


class Constants(NamedTuple):
    """The constants of a source, in the units of the scripts: money is in millionths of a dollar.

    ``clears`` is the key of its log of clears, and ``queue`` has those of its queue. ``deep_budget`` is
    the part of the day's budget that may be spent on filling older hours. Nobody waits for those, so they
    must leave something for the asks of users.
    """

    source: Source
    limits: str
    clears: str
    queue: FetchQueue
    budget: int
    deep_budget: int
    page_price: int
    ttl_us: int


def deep_part(source: Source, budget: int) -> int:
    """The part of the day's ``budget`` that may be spent on what nobody waits for."""
    # The scripts read a budget of 0 as no budget.
    return max(1, int(budget * source.deepening_share)) if budget else 0


class Preparation:
    """The constants of each source."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        #: The key is the ``id`` of the source, because hashing all of its fields would take longer than all
        #: else here. The value holds the source, so that no other object can have the same id.
        self._constants: dict[int, Constants] = {}

    def constants_of(self, source: Source) -> Constants:
        """The constants of ``source``. The first use of them makes its limits known to the limiter."""
        constants = self._constants.get(id(source))
        if constants is None:
            budget, page_price = to_micros(source.daily_budget or 0), to_micros(source.price.per_page)
            limits, clears = pack_limits(source.limits), self._limiter.store.keys.clears(source.name)
            queue = fetch_queue(self._limiter.store.keys, source.name)
            window = self._limiter.process_window(source.name)
            window.configure(source.limits)
            window.purse.configure(budget, page_price // source.cost)
            deep, ttl_us = deep_part(source, budget), to_micros(source.cache_ttl)
            constants = self._constants[id(source)] = Constants(
                source, limits, clears, queue, budget, deep, page_price, ttl_us
            )
        return constants
