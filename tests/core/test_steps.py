"""How many of our functions a decision goes through: each costs more than it looks, as Redis has emptied the
caches of a core that both share.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import tbcache
from tbcache.admission import Go, Verdict
from tbcache.io import run
from tbcache.rate_limiter import RateLimiter
from tbcache.store import Store
from tests.blocking import Admission, core
from tests.core.conftest import TWITTER, ask

OURS = str(Path(tbcache.__file__).parent)


def test_a_decision_of_the_limiter_goes_through_few_functions(store: Store) -> None:
    """They were 113, and took a sixth longer."""
    limiter = RateLimiter(TWITTER, store)
    # The first opens a connection.
    for _ in range(2):
        called = functions_of(lambda: limiter.check_rate_limit(limit=5, window_seconds=60))
    assert called <= 85


def test_a_decision_of_admission_goes_through_few_functions(admission: Admission, store: Store) -> None:
    """They were 137, and took a tenth longer."""
    admit, verdicts = core(admission).admit, list[Verdict]()
    for one in [ask(symbol, patience=60.0) for symbol in ("AAPL", "MSFT")]:
        called = functions_of(lambda one=one: verdicts.append(run(admit(one))))  # type: ignore[misc]
    assert called <= 105
    assert [type(verdict) for verdict in verdicts] == [Go, Go]


def functions_of(act: Callable[[], object]) -> int:
    """How many functions of tbcache are called."""
    called = 0

    def on_event(frame: FrameType, event: str, _: object) -> None:
        nonlocal called
        called += event == "call" and frame.f_code.co_filename.startswith(OURS)

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        act()
    finally:
        sys.setprofile(before)
    return called
