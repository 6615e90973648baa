"""A lease that one process of the fleet holds at a time."""

from __future__ import annotations

from typing import NamedTuple

from tbcache.store.reply import flag
from tbcache.store.script import Key, Script


class Lead(NamedTuple):
    """Take or renew a lease, or give it back (``lease_ms`` 0). True when it is the asker's."""

    lease: Key
    name: str
    lease_ms: int


LEAD = Script("lead", Lead, flag)
