"""The usage monitor, awaited where it asks Redis."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tbcache.asyncio.thread import in_thread
from tbcache.io.singleton import singleton
from tbcache.monitoring import RecentMetrics, SourceMetrics, WorkerStatus
from tbcache.monitoring import UsageMonitor as BlockingMonitor
from tbcache.monitoring import get_usage_monitor as get_blocking


class UsageMonitor:
    """Counts in batches and reads what all have counted; see :class:`tbcache.UsageMonitor`.

    ``blocking`` is the same for the blocking API.
    """

    def __init__(self, blocking: BlockingMonitor) -> None:
        self.blocking = blocking

    def record_request(
        self, source: str, success: bool = True, cached: bool = False, cost: float = 0.0
    ) -> None:
        """Count one request made outside the pipeline. ``cost`` is in US dollars. Asks nobody, so it is not
        awaited: the figures reach Redis within a second.

        Raises:
          InvalidRequest: a cost that is no number from 0 to 1e6, or a source that is no name.
        """
        self.blocking.record_request(source, success, cached, cost)

    async def get_source_metrics(self, source: str, day: datetime | None = None) -> SourceMetrics:
        """The figures of ``source`` on the UTC ``day`` (default: today), of all processes."""
        return await in_thread(lambda: self.blocking.get_source_metrics(source, day))

    async def get_recent_metrics(self, source: str) -> RecentMetrics:
        """The figures of ``source`` over the last minutes, of all processes."""
        return await in_thread(lambda: self.blocking.get_recent_metrics(source))

    async def get_worker_metrics(self, source: str, day: datetime | None = None) -> dict[str, SourceMetrics]:
        """The figures of ``source`` on the UTC ``day``, by process."""
        return await in_thread(lambda: self.blocking.get_worker_metrics(source, day))

    async def get_source_names(self) -> list[str]:
        """The sources that have figures: the configured ones, and other names in use."""
        return await in_thread(self.blocking.get_source_names)

    async def get_usage_summary(self, day: datetime | None = None) -> dict[str, Any]:
        """The figures of all sources on the UTC ``day`` (default: today), with their sums."""
        return await in_thread(lambda: self.blocking.get_usage_summary(day))

    async def get_workers(self) -> list[WorkerStatus]:
        """The processes that say that they are there."""
        return await in_thread(self.blocking.get_workers)

    async def flush(self) -> bool:
        """Send what was counted; False when Redis is away and it waits for the next time."""
        return await in_thread(self.blocking.flush)


@singleton
def get_usage_monitor() -> UsageMonitor:
    """The usage monitor of this process."""
    return UsageMonitor(get_blocking())
