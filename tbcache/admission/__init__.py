"""Admission: may this ask go upstream, and if not, what does it get instead?

``admit`` puts one question to Redis and gets one verdict; ``settle`` ends the load it
allowed. ``turn`` stands between two pages of one answer. While Redis is away the same
questions are answered in process, within this process's share of the limits. What asks Redis alone raises
Unavailable.
"""

from tbcache.admission.admission import Admission
from tbcache.admission.closure import bounded
from tbcache.admission.delay import PlanDelay, Reach
from tbcache.admission.trace import Admit, traced
from tbcache.admission.verdict import (
    STOPPED,
    Ask,
    Derive,
    Failed,
    Go,
    Grant,
    Hit,
    Join,
    Merge,
    Merged,
    Settled,
    Settlement,
    Stale,
    Verdict,
    Wait,
    Why,
)
