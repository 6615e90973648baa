"""The whole fleet at a glance: the server, every source with its limits, every worker, every trouble.

The command line, its dashboard, the HTTP API and the metrics are views of :class:`FleetStatus` and
:class:`FleetUsage`: they set out what stands there, and work out nothing. What an operator can do is a
method of :class:`Operator`, which `Fleet.as_operator` gives. Whatever is given a store, or a monitor, to read
raises RedisUnreachable while Redis is away.
"""

from tbcache.cache.preview import Cleared
from tbcache.fleet.answer import Held
from tbcache.fleet.ask import Queued, fetches_of, warming_of
from tbcache.fleet.audit import AuditLine
from tbcache.fleet.change import Change, ChangeKind, ChangeMark
from tbcache.fleet.doctor import credentials_finding
from tbcache.fleet.expense import Covered
from tbcache.fleet.finding import Finding
from tbcache.fleet.fleet import CacheUsage, Fleet
from tbcache.fleet.hindrance import Hindrance, hindrances, put_off_by
from tbcache.fleet.history import SPANS, HistorySpan, Trend, UsageHistory, cost_by_hour
from tbcache.fleet.incident import Incident
from tbcache.fleet.limit import LimitsInForce
from tbcache.fleet.model import (
    FleetStatus,
    LimitStatus,
    Lost,
    QueueStatus,
    ServerStatus,
    SourceStatus,
    State,
    Trouble,
    when,
)
from tbcache.fleet.operator import Operator
from tbcache.fleet.order import OrderGiven
from tbcache.fleet.report import By, UsageReport, UsageRow
from tbcache.fleet.scale import QueueLoad, Scale
from tbcache.fleet.trouble import remedy
from tbcache.fleet.usage import DayUsage, FleetUsage, SymbolCost
from tbcache.models.trouble import FleetTrouble, ServerTrouble
from tbcache.monitoring import (
    EDGES,
    KEPT_DAYS,
    CallerMetrics,
    Counted,
    Totals,
    WorkerStatus,
    get_usage_monitor,
)
from tbcache.monitoring.interval import Interval
from tbcache.queue import (
    DeadFilter,
    DeadLetter,
    DeathCount,
    Explanation,
    Handle,
    JobFilter,
    JobMark,
    JobState,
    LetterMark,
    ListedJob,
    QueueDepth,
    Requeued,
)
from tbcache.store.order import Bound, Order
from tbcache.store.said import WHO
from tbcache.store.state import Failing
