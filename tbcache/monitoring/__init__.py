"""The usage: what this process counts, and what every process did, what it cost, and who is alive.

Figures stand in one hash per source and UTC day, kept 31 days, as ``worker:metric``; totals are sums over
the workers, made when they are read. Whatever is given a store to read raises RedisUnreachable while Redis is
away.
"""

from tbcache.monitoring.caller_usage import CallerMetrics
from tbcache.monitoring.counted import EDGES, Counted
from tbcache.monitoring.figure import RecentMetrics, SourceMetrics, Totals, day_metrics, latency_bucket
from tbcache.monitoring.heartbeat import FETCHING_ROLES, Heartbeat, Workload
from tbcache.monitoring.monitor import KEPT_DAYS, UsageMonitor, get_usage_monitor, monitor_of
from tbcache.monitoring.popularity import Popularity
from tbcache.monitoring.process import WorkerStatus, mean_pace
