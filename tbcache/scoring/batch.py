"""Batches: what several threads want to have rated at the same time is rated together."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tbcache.scoring.scorer import Rating

#: Rates texts that are all different, in their order.
Rate = Callable[[Sequence[str]], Sequence[Rating]]


@dataclass(slots=True)
class _Request:
    texts: Sequence[str]
    ratings: dict[str, Rating] = field(default_factory=dict)
    error: BaseException | None = None
    is_done: bool = False


class Batches:
    """Rates texts by ``rate``, which one thread at a time calls, for itself and for all that wait."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self.renew()
        _BATCHES.add(self)

    def renew(self) -> None:
        """Make the locks: at the start, and in a forked child, for which no thread of the parent rates."""
        self._running = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[_Request] = []

    def rate(self, texts: Sequence[str]) -> list[Rating]:
        """One rating a text.

        Raises:
          Exception: what ``rate`` raised; everyone whose texts were in that batch gets it.
        """
        request = _Request(texts)
        with self._guard:
            self._waiting.append(request)
        with self._running:
            if not request.is_done:
                self._run()
        if request.error is not None:
            raise request.error
        return [request.ratings[text] for text in texts]

    def _run(self) -> None:
        with self._guard:
            taken, self._waiting = self._waiting, []
        # One post is new to several symbols at once.
        texts = list(dict.fromkeys(text for request in taken for text in request.texts))
        ratings, error = dict[str, Rating](), None
        try:
            ratings = dict(zip(texts, self._rate(texts), strict=True))
        except BaseException as raised:
            error = raised
        for request in taken:
            request.ratings, request.error, request.is_done = ratings, error, True


_BATCHES: weakref.WeakSet[Batches] = weakref.WeakSet()


def _after_fork() -> None:
    for batches in list(_BATCHES):
        batches.renew()


os.register_at_fork(after_in_child=_after_fork)
