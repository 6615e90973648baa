"""What Python and the scripts must have in common, written down once.

A script that names one of :data:`SHARED` is given it in its prologue (script.py).
"""

from __future__ import annotations

from tbcache.models.limit import LONGEST_WINDOW_SECONDS, MOST_SLOTS
from tbcache.store.wire import to_micros

#: A process that Redis has not heard for longer may be cut off, and sending without it.
ABSENT_SECONDS = 0.45
#: For how long the shares of processes are reserved whose host has died.
FORGET_SECONDS = 300.0
#: How much a share may be off by its rounding.
ROUNDING = 1e-6
#: Upstreams round the end of a window to whole seconds, so a reset may seem to lie so far beyond its window.
RESET_SLACK_SECONDS = 2.0
#: For so long it is known that a key of a source was deleted, and for so long what was loaded without Redis
#: may be put there. It is known for longer what was cleared (compact.lua).
REMEMBERED_SECONDS = 3_600.0
#: The code for a slot that is free, and has to be given back by another process first.
GIVING_BACK = "giving_back"

#: The constants as Lua has them: the names of moments and spans end with ``_US`` (microseconds).
SHARED = {
    "ABSENT_US": f"{to_micros(ABSENT_SECONDS)}",
    "FORGET_US": f"{to_micros(FORGET_SECONDS)}",
    "LONGEST_WINDOW_US": f"{to_micros(LONGEST_WINDOW_SECONDS)}",
    "MOST_SLOTS": f"{MOST_SLOTS}",
    "REMEMBERED_US": f"{to_micros(REMEMBERED_SECONDS)}",
    "RESET_SLACK_US": f"{to_micros(RESET_SLACK_SECONDS)}",
    "ROUNDING": f"{ROUNDING:g}",
    "GIVING_BACK": f"'{GIVING_BACK}'",
}
