"""What a process learns by a beat: its part of a source's limits, and the state of the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tbcache.models import Limit


class Allotment(NamedTuple):
    """A process's part of the limits of a source.

    ``share`` is its part of each limit while it cannot reach Redis, and ``fair`` is the part that it would
    have if all parts were equal. ``allowances`` say for each limit how many free slots it may take without
    Redis. ``limits`` are the limits in force, and ``processes`` is how many processes take slots. A request
    of any of them arrives within ``hold`` seconds of its grant. ``bound`` are the limits that an operator has
    set.
    """

    share: float
    fair: float
    allowances: Mapping[str, int]
    limits: tuple[Limit, ...]
    processes: int
    hold: float
    bound: tuple[Limit, ...] = ()


class Census(NamedTuple):
    """How many processes have to put their slots back if Redis loses the window: ``members``, in ``epoch``.

    A beat tells this at ``told_at``, while nothing is missing from the window. Slots of processes that had
    left the fleet by then may be in a window until ``left_until``. Both moments are monotonic.
    """

    epoch: str = ""
    members: int = 0
    left_until: float = 0.0
    told_at: float = 0.0
