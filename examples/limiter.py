"""The rate limiter alone, for requests that you make yourself.

    python examples/limiter.py 8

Started in several terminals at once, all of them together make no more than five requests in any two seconds.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from tbcache import get_rate_limiter

COUNT, SECONDS = 5, 2

limiter = get_rate_limiter("my_upstream")


def ask(number: int) -> None:
    """One request. Its slot is held until the block ends: exact, whatever the network's delay."""
    with limiter.slot(limit=COUNT, window_seconds=SECONDS, max_wait=60.0):
        print(f"request {number} at {datetime.now(UTC):%H:%M:%S.%f}")  # yours goes here


def main(many: str = "8") -> None:
    for number in range(1, int(many) + 1):
        ask(number)
    status = limiter.get_status(limit=COUNT, window_seconds=SECONDS)
    print(f"{status.used} of {COUNT} used in the last {SECONDS} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
