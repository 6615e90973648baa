"""What an operator's saying makes of the limits of a source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tbcache.models import Limit
from tbcache.models.error import InvalidRequest
from tbcache.settings import Settings, get_sources
from tbcache.store.order import Bound

MOST_LIMITS = 4


@dataclass(frozen=True, slots=True)
class LimitsInForce:
    """The limits of a source from now on, and those in force until then (``before``); none where no process
    uses it.

    ``is_lowered``: one that was set is among them; else those that the processes were started with allow no
    more anyway. ``bound_before`` is what an operator had set until then, which holds no more; where that was
    the same (``is_unchanged``) it stands, with who, why and since when.
    """

    source: str
    limits: tuple[Limit, ...]
    is_lowered: bool
    before: tuple[Limit, ...] = ()
    bound_before: Bound | None = None
    is_unchanged: bool = False

    @property
    def is_raised(self) -> bool:
        """True where one of them allows more than until then, as what was set before is taken back."""
        now = {limit.window_seconds: limit.count for limit in self.limits}
        return bool(now) and any(now.get(one.window_seconds, math.inf) > one.count for one in self.before)

    def __str__(self) -> str:
        now = ",".join(map(str, self.limits)) or "none until a process uses it"
        by = "" if self.is_lowered or not self.limits else ", by the settings of the processes"
        return f"{self.source}: in force is {now}{by}{self._until_now}"

    @property
    def _until_now(self) -> str:
        if self.is_unchanged and self.bound_before is not None:
            return f"; nothing is changed: it was {self.bound_before.since_when}"
        if self.bound_before is None and set(self.before) <= set(self.limits):
            return ""
        set_by = f" ({self.bound_before})" if self.bound_before else ""
        raised = ": this raises it" if self.is_raised else ""
        return f"; until now it was {','.join(map(str, self.before)) or 'none'}{set_by}{raised}"


def check_limits(source: str, limits: Sequence[Limit], settings: Settings) -> None:
    """
    Raises:
      InvalidRequest: no such limits can be set of the source.
    """
    if not 1 <= len(limits) <= MOST_LIMITS:
        raise InvalidRequest(f"say 1 to {MOST_LIMITS} limits, like 100/15m,2000/1d")
    if len({limit.window_seconds for limit in limits}) < len(limits):
        raise InvalidRequest(f"{','.join(map(str, limits))} has two limits of one window")
    known = get_sources(settings).get(source)
    least = min(limits, key=lambda limit: limit.count)
    if known is not None and least.count < known.cost:
        raise InvalidRequest(f"{least} lets nothing through: a request of {source} costs {known.cost}")
