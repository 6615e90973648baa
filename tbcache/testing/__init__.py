"""What tests of a program that uses tbcache need: a server, the upstreams, a simulated fleet, and patience.

    with server() as redis, simulator(limits={"reddit": "10/2s"}) as upstream:
        environment = {**redis.variables, **upstream.variables}

``server`` needs the extra ``embedded``, ``simulator`` the extra ``server``. Both are processes on free
ports of 127.0.0.1, and end with the block, or with the process that started them.
``SimulatedFleet`` needs the extra ``simulated``, and runs functions of several processes in virtual time.
"""

from tbcache.testing.fleet import SimulatedFleet
from tbcache.testing.upstream import Options, RunningSimulator, simulator
from tbcache.testing.valkey import RunningServer, server
from tbcache.testing.wait import wait_until

__all__ = [
    "Options",
    "RunningServer",
    "RunningSimulator",
    "SimulatedFleet",
    "server",
    "simulator",
    "wait_until",
]
