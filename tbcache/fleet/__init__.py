"""The whole fleet at a glance: the server, every source with its limits, every worker, every trouble.

The command line, its page and the API are views of :class:`FleetStatus`.
"""

from tbcache.fleet.look import Fleet, build_fleet
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

__all__ = [
    "Fleet",
    "FleetStatus",
    "FleetTrouble",
    "LimitStatus",
    "ServerStatus",
    "ServerTrouble",
    "SourceStatus",
    "State",
    "Trouble",
    "build_fleet",
    "difference",
    "remedy",
    "when",
]
