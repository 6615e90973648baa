"""The simulator as a process of its own, for tests that need real HTTP.

with running_simulator(limits={"reddit": "10/2s"}) as upstream:
    settings = Settings.load(upstream.variables)
    ...
    assert upstream.stats()["reddit"]["refused"] == 0
"""

from __future__ import annotations

from tbcache.testing import RunningSimulator as SimulatorProcess
from tbcache.testing import simulator as running_simulator

__all__ = ["SimulatorProcess", "running_simulator"]
