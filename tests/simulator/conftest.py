"""A simulator in the process, on a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from tbcache.embedded.simulator import create_app
from tbcache.models import Limit
from tbcache.settings import BUILT_IN

#: Tuesday 2026-06-02 15:00:00 UTC.
START = 1_780_412_400.0


class Clock:
    """Monotonic and wall clock in one; it stands still until it is moved."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simulator(clock: Clock) -> Iterator[Callable[..., TestClient]]:
    """Build clients of simulators without latency, and without limits that a test would notice."""
    with ExitStack() as stack:

        def build(**options: Any) -> TestClient:
            wide = dict.fromkeys(BUILT_IN, (Limit(100_000, 60),))
            options = {"latency": (0.0, 0.0), "clock": clock, "now": clock, **options}
            options["limits"] = {**wide, **options.get("limits", {})}
            return stack.enter_context(TestClient(create_app(**options)))

        yield build


def truth(client: TestClient, source: str, symbol: str, hours: int = 24) -> list[dict[str, Any]]:
    """What the simulator says of every item: see docs/simulator.md."""
    return list(client.get(f"/_truth/{source}/{symbol}", params={"hours": hours}).json())


def is_gone(row: dict[str, Any], at: float = START) -> bool:
    """Whether an item was taken down by the moment ``at``."""
    return row["removed_at"] is not None and datetime.fromisoformat(row["removed_at"]).timestamp() <= at


@pytest.fixture
def client(simulator: Callable[..., TestClient]) -> TestClient:
    return simulator()
