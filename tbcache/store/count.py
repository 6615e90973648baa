"""Figures that were counted away from Redis, and are added there exactly once."""

from __future__ import annotations

from typing import NamedTuple

from tbcache.store.reply import flag
from tbcache.store.script import Key, Script


class Count(NamedTuple):
    """Add a batch of figures. False when this batch has been added before."""

    usage: Key
    batch: Key
    state: Key
    worker: str
    budget: int
    figures: tuple[str | int, ...]


class BillOnce(NamedTuple):
    """Bill what is billed once a day. False when this batch has been billed before."""

    usage: Key
    batch: Key
    billed: Key
    worker: str
    budget: int
    once: tuple[str | int, ...]


COUNT = Script("count", Count, flag)
BILL_ONCE = Script("billed", BillOnce, flag)
