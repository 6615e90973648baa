"""Places that clients share: so many at once, and never all of them one client's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal


class Shares:
    """``count`` places. A client may have as many as it leaves free: one alone has half of them, two have a
    third each. Whoever comes next finds some, however many the others want.

    None is a client that stands for many, and may have all. Used in one event loop alone.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._taken = Counter[str | None]()

    def taken_by(self, client: str | None) -> int:
        """How many places ``client`` has."""
        return self._taken[client]

    def lack(self, client: str | None) -> Literal["all", "its own"] | None:
        """Which places are taken, where there is none for ``client``: all that there are, or as many as one
        client may have."""
        free = self.count - self._taken.total()
        if free <= 0:
            return "all"
        return "its own" if client is not None and self._taken[client] >= free else None

    @contextmanager
    def taken(self, client: str | None) -> Iterator[None]:
        """A place of ``client``, whether there is one or not: :meth:`lack` says that."""
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]
