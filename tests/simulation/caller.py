"""Who asks: callers whose failures are counted, and those who hang up while they wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.upstream import Load

if TYPE_CHECKING:
    from tests.simulation.process import Process


class Callers:
    """Stands before the counts of one process: whose job comes again has not failed, and who is left without
    an answer is counted once."""

    def __init__(self, process: Process, counts: Any) -> None:
        self._process, self._counts = process, counts

    def record(self, source: str, origin: str, key: str = "") -> None:
        claim = self._process.work.claims.get(self._process.world.kernel.current)
        if origin == "failed" and claim is not None:
            self._process.world.oracle.jobs.count_failure(claim)
        self._counts.record(source, origin, key)

    def record_in_memory(self, key: str) -> None:
        self._counts.record_in_memory(key)

    def fail(self, source: str, name: str | None) -> None:
        self._process.world.oracle.jobs.count_death()


class Client:
    """One whose program asks for him, and ends that when he hangs up before anything is loaded for him
    (see ``tbcache.api.asked``)."""

    def __init__(self) -> None:
        self.is_loading = False
        #: What admission was asked by for him.
        self.ids: list[str] = []
        #: What is asked of the upstream for him.
        self.loads: list[Load] = []

    def wait(self) -> None:
        """His answer is not there."""

    def load(self) -> None:
        self.is_loading = True
