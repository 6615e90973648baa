"""What shows how things stand: it reads many keys in the blocking way, and nobody is in a hurry for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tbcache.io import world
from tbcache.io.loop import drive

T = TypeVar("T")


async def in_thread(read: Callable[[], T]) -> T:
    """What ``read`` returns, which runs beside the loop."""
    return await drive(_offloaded(read))


async def _offloaded(read: Callable[[], T]) -> T:
    return await world().offload(read)
