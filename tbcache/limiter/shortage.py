"""Why a slot cannot be had without Redis."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Shortage(NamedTuple):
    """For how many seconds there is no slot: the source is closed or paused, or this process's share is used.

    ``reason`` is in words for whoever asked.
    """

    seconds: float
    why: Literal["closed", "paused", "share"]
    reason: str
