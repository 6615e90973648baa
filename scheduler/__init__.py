"""The scheduler process: it keeps common symbols warm before anyone asks for them.

Run it with ``tbcache scheduler``. Of several on one Redis only one, the leader, does the work.
"""

from .prewarm import Prewarm

__all__ = ["Prewarm"]
