"""What a beat tells a process: its part of a source's limits, and the state of the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tbcache.models import Limit


class Allotment(NamedTuple):
    """A process's part of a source.

    ``share`` is its part of each limit while Redis is away from it, and ``fair`` what that would be if all
    parts were equal. ``allowances`` are, by limit, how many free slots it may take without Redis. ``limits``
    are those in force, and ``processes`` is how many processes take slots.
    """

    share: float
    fair: float
    allowances: Mapping[str, int]
    limits: tuple[Limit, ...]
    processes: int


class Census(NamedTuple):
    """Who must put slots back, should Redis lose the window: ``members`` processes, in ``epoch``.

    A beat tells it while nothing is missing in the window. Slots of processes that had left the fleet by then
    are in a window until ``left_until`` at the latest. It was told at ``told_at``. Both moments are
    monotonic.
    """

    epoch: str = ""
    members: int = 0
    left_until: float = 0.0
    told_at: float = 0.0
