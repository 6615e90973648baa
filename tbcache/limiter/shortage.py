"""Why a process cannot have a slot while Redis is away."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Shortage(NamedTuple):
    """There is no slot for ``seconds``: the source is closed or paused, or this process's share is used up.

    ``reason`` is for users.
    """

    seconds: float
    why: Literal["closed", "paused", "share"]
    reason: str
