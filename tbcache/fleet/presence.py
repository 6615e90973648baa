"""The place among the processes of the fleet of one that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tbcache.monitoring import get_usage_monitor


@contextmanager
def present(role: str) -> Iterator[None]:
    """Meanwhile this process is on the list, whether it fetches or not: one that was killed would else be
    told by its heir as gone."""
    monitor = get_usage_monitor()
    monitor.keep_beating(role)
    try:
        yield
    finally:
        monitor.leave()
