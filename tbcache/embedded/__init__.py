"""What ``tbcache up`` runs: an embedded server, and child processes that never outlive the command.

The simulated upstreams are in :mod:`tbcache.embedded.simulator`.
"""

from tbcache.embedded.command import process_program, python_program
from tbcache.embedded.data_folder import DataFolder
from tbcache.embedded.group import ProcessGroup
from tbcache.embedded.program import Program
from tbcache.embedded.server import EmbeddedServer
from tbcache.embedded.supervisor import KeepsDying, Supervisor
