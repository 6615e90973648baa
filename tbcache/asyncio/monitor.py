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
        """See :meth:`tbcache.UsageMonitor.record_request`. It asks nobody, so it is not awaited."""
        self.blocking.record_request(source, success, cached, cost)

    async def get_source_metrics(self, source: str, day: datetime | None = None) -> SourceMetrics:
        """See :meth:`tbcache.UsageMonitor.get_source_metrics`."""
        return await in_thread(lambda: self.blocking.get_source_metrics(source, day))

    async def get_recent_metrics(self, source: str) -> RecentMetrics:
        """See :meth:`tbcache.UsageMonitor.get_recent_metrics`."""
        return await in_thread(lambda: self.blocking.get_recent_metrics(source))

    async def get_worker_metrics(self, source: str, day: datetime | None = None) -> dict[str, SourceMetrics]:
        """See :meth:`tbcache.UsageMonitor.get_worker_metrics`."""
        return await in_thread(lambda: self.blocking.get_worker_metrics(source, day))

    async def get_source_names(self) -> list[str]:
        """See :meth:`tbcache.UsageMonitor.get_source_names`."""
        return await in_thread(self.blocking.get_source_names)

    async def get_usage_summary(self, day: datetime | None = None) -> dict[str, Any]:
        """See :meth:`tbcache.UsageMonitor.get_usage_summary`."""
        return await in_thread(lambda: self.blocking.get_usage_summary(day))

    async def get_workers(self) -> list[WorkerStatus]:
        """See :meth:`tbcache.UsageMonitor.get_workers`."""
        return await in_thread(self.blocking.get_workers)

    async def flush(self) -> bool:
        """See :meth:`tbcache.UsageMonitor.flush`."""
        return await in_thread(self.blocking.flush)


@singleton
def get_usage_monitor() -> UsageMonitor:
    """The usage monitor of this process."""
    return UsageMonitor(get_blocking())
