"""The scheduler process: keeps common symbols warm before anyone asks.

Run it with ``tbcache scheduler``. Two on one Redis warm once: one leads.
"""

from .prewarm import Prewarm

__all__ = ["Prewarm"]
