"""Waiting for a condition, in place of a sleep that is too long or too short."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.005


def wait_until(condition: Callable[[], T], seconds: float = 30.0, what: str = "") -> T:
    """Call ``condition`` until what it gives is true, and return that. ``what`` names it in the error.

    Raises:
      AssertionError: it was not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or 'the condition'} did not come true within {seconds:g} s")
        time.sleep(POLL_SECONDS)
