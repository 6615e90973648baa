"""The whole fleet at a glance: the server, every source with its limits, every worker, every trouble.

The command line, its dashboard, the HTTP API and the metrics are views of :class:`FleetStatus` and
:class:`FleetUsage`: they set out what stands there, and work out nothing. What an operator can do is a
method of :class:`Fleet`.
"""

from tbcache.fleet.fleet import CacheUsage, Fleet
from tbcache.fleet.model import (
    FleetStatus,
    FleetTrouble,
    LimitStatus,
    ServerStatus,
    ServerTrouble,
    SourceStatus,
    State,
    Trouble,
    difference,
    when,
)
from tbcache.fleet.trouble import remedy
from tbcache.fleet.usage import DayUsage, FleetUsage
from tbcache.monitoring import KEPT_DAYS, Totals, WorkerStatus
from tbcache.queue import Handle

__all__ = [
    "KEPT_DAYS",
    "CacheUsage",
    "DayUsage",
    "Fleet",
    "FleetStatus",
    "FleetTrouble",
    "FleetUsage",
    "Handle",
    "LimitStatus",
    "ServerStatus",
    "ServerTrouble",
    "SourceStatus",
    "State",
    "Totals",
    "Trouble",
    "WorkerStatus",
    "difference",
    "remedy",
    "when",
]
