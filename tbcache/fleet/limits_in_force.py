"""The limits that an operator sets beside those that the processes of a fleet were started with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tbcache.models import Limit
from tbcache.models.error import InvalidRequest
from tbcache.settings import Settings, get_sources

MOST_LIMITS = 4


@dataclass(frozen=True, slots=True)
class LimitsInForce:
    """The limits of a source from now on. ``is_lowered``: one that was set is among them; else those that the
    processes were started with allow no more anyway."""

    source: str
    limits: tuple[Limit, ...]
    is_lowered: bool
    #: What an operator had set until then.
    before: tuple[Limit, ...] = ()


def check_limits(source: str, limits: Sequence[Limit], settings: Settings) -> None:
    """
    Raises:
      InvalidRequest: no limits, more than four, two of one window, or one that no request fits in.
    """
    if not 1 <= len(limits) <= MOST_LIMITS:
        raise InvalidRequest(f"say 1 to {MOST_LIMITS} limits, like 100/15m,2000/1d")
    if len({limit.window_seconds for limit in limits}) < len(limits):
        raise InvalidRequest(f"{','.join(map(str, limits))} has two limits of one window")
    known = get_sources(settings).get(source)
    least = min(limits, key=lambda limit: limit.count)
    if known is not None and least.count < known.cost:
        raise InvalidRequest(f"{least} lets nothing through: a request of {source} costs {known.cost}")
