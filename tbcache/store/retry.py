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

    Others go on without an answer that is late. Here one would leave the act half done.
    """

    def __init__(self) -> None:
        self._has_begun = False

    def __call__(self, call: Callable[[bool], T]) -> T:
        """What ``call`` comes to, which is told whether an earlier try of it may have been carried out.

        Raises:
          Unavailable: the server refuses it, is away for longer, or was away before the act had begun.
        """
        give_up_at, may_be_done = math.inf, False
        while True:
            try:
                found = call(may_be_done)
            except Unavailable as error:
                give_up_at = min(give_up_at, now() + RETRY_SECONDS)
                may_be_done = may_be_done or error.is_timeout
                if error.is_refusal or now() >= give_up_at or not (may_be_done or self._has_begun):
                    raise
                run(world().sleep(PAUSE_SECONDS))
            else:
                self._has_begun = True
                return found
