"""A few seconds of random faults, as ``make chaos`` has them for minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.plan import SHORT
from tests.chaos.run import run


@pytest.mark.timeout(240)
def test_a_fleet_keeps_its_promises_under_random_faults(tmp_path: Path) -> None:
    """No window exceeded, nothing lost, no raw error: what a user relies on when machines fail."""
    # A seed whose few faults are of most kinds, deaths of workers, a bot and the server among them.
    report = run(149, SHORT, tmp_path / "run")
    assert not report.breaks, "\n".join([str(report), "the faults were:", *report.faults])
