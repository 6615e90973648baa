"""The promise, at the upstream's side: several processes, a jittery network, one limit."""

from __future__ import annotations

import pytest

from bench.load import Plan, run
from tbcache.models import Limit
from tests.server import Server


@pytest.mark.parametrize("shape", ["saturated", "heavy"])
def test_no_window_sees_more_than_the_limit_and_little_is_left_unused(server: Server, shape: str) -> None:
    """4 processes x 4 threads at 50 per 2 s, 5-50 ms each way: what every other limiter breaks."""
    seen = run(Plan(server.url, 4.0, (Limit(50, 2.0),), shape=shape))
    assert seen.most <= 50
    assert seen.used > 0.6
    assert seen.round_trips < 2.2
