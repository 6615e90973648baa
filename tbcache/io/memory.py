"""How much memory this process has."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from tbcache.io.boundary import boundary

_STATM = Path("/proc/self/statm")


@boundary("memory_bytes")
def memory_bytes() -> int:
    """What of its memory is resident; where the system does not say, the most that ever was."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
