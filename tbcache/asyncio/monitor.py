"""The usage monitor, awaited where it asks Redis."""

from __future__ import annotations

from tbcache.asyncio.awaited import beside
from tbcache.io.singleton import singleton
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

    get_source_metrics = beside(BlockingMonitor.get_source_metrics)
    get_recent_metrics = beside(BlockingMonitor.get_recent_metrics)
    get_worker_metrics = beside(BlockingMonitor.get_worker_metrics)
    get_source_names = beside(BlockingMonitor.get_source_names)
    get_usage_summary = beside(BlockingMonitor.get_usage_summary)
    get_workers = beside(BlockingMonitor.get_workers)
    flush = beside(BlockingMonitor.flush)


@singleton
def get_usage_monitor() -> UsageMonitor:
    """The usage monitor of this process."""
    return UsageMonitor(get_blocking())
