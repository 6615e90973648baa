"""A lease that one process of the fleet holds at a time."""

from __future__ import annotations

from typing import NamedTuple

from tbcache.store.reply import number
from tbcache.store.script import Key, Script


class Lead(NamedTuple):
    """Take or renew a lease, or give it back (``lease_ms`` 0). Replies its token, which is higher than
    ``above`` and any before, when it is the asker's; else 0.
    """

    lease: Key
    name: str
    lease_ms: int
    above: int = 0


LEAD = Script("lead", Lead, number)
