"""What stands in for a process's surroundings where a fleet is simulated."""

from __future__ import annotations


class Monitor:
    """Counts nothing."""

    worker = "w"

    @property
    def ask_counts(self) -> Monitor:
        return self

    @property
    def callers(self) -> Monitor:
        return self

    @property
    def symbol_costs(self) -> Monitor:
        return self

    def record(self, *_: object) -> None: ...
    def record_in_memory(self, *_: object) -> None: ...
    def count(self, *_: object) -> None: ...
    def bill(self, *_: object) -> None: ...
    def pay(self, *_: object) -> None: ...
