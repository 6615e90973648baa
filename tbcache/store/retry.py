"""Calls that are made again where the server did not answer in time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from tbcache.io import now, run, world
from tbcache.store.breaker import Unavailable

#: For so long a call is made again.
RETRY_SECONDS = 5.0
PAUSE_SECONDS = 0.05

T = TypeVar("T")


class Retry:
    """Makes the calls of an act that is to be whole: an operator's, over thousands of jobs.

    Others go on without an answer that is late. Here one would leave the act half done. Both methods raise
    Unavailable where the server refuses a call, is away for longer, or was away before the act had begun.
    """

    def __init__(self) -> None:
        self._has_begun = False

    def read(self, call: Callable[[], T]) -> T:
        """What ``call`` comes to, which changes nothing."""
        return self._make(lambda _: call(), is_change=False)

    def write(self, call: Callable[[bool], T]) -> T:
        """What ``call`` comes to, which is told whether an earlier try of it may have been carried out."""
        return self._make(call, is_change=True)

    def _make(self, call: Callable[[bool], T], *, is_change: bool) -> T:
        give_up_at, may_be_done = math.inf, False
        while True:
            try:
                found = call(may_be_done)
            except Unavailable as error:
                give_up_at = min(give_up_at, now() + RETRY_SECONDS)
                may_be_done = may_be_done or (is_change and error.is_timeout)
                is_refused = error.is_refusal and not error.is_passing
                if is_refused or now() >= give_up_at or not (may_be_done or self._has_begun):
                    raise
                run(world().sleep(PAUSE_SECONDS))
            else:
                self._has_begun = True
                return found
