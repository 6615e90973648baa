"""What ``tbcache up`` runs: an embedded server, and child processes that never outlive it.

The upstreams that it simulates are in :mod:`tbcache.embedded.simulator`.
"""

from tbcache.embedded.group import ProcessGroup
from tbcache.embedded.note import DataFolder
from tbcache.embedded.part import Part
from tbcache.embedded.program import process_part, python_part
from tbcache.embedded.server import EmbeddedServer
from tbcache.embedded.supervisor import KeepsDying, Supervisor

__all__ = [
    "DataFolder",
    "EmbeddedServer",
    "KeepsDying",
    "Part",
    "ProcessGroup",
    "Supervisor",
    "process_part",
    "python_part",
]
