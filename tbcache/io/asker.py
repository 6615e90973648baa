"""Who waits for an answer, told how far it is: he may refuse to wait, or be gone before it costs anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Asker(Protocol):
    """Each is called in the thread, or the loop, that works for him, and may be called again."""

    def wait(self) -> None:
        """The answer is not there: it is to be waited for, or loaded. What is raised here ends the ask."""

    def load(self) -> None:
        """An upstream is asked from now on."""


_ASKER: ContextVar[Asker | None] = ContextVar("tbcache.asker", default=None)


@contextmanager
def asking(asker: Asker) -> Iterator[None]:
    """What runs meanwhile, and the tasks that are made meanwhile, work for ``asker``."""
    before = _ASKER.set(asker)
    try:
        yield
    finally:
        _ASKER.reset(before)


def tell_wait() -> None:
    """Whoever asks is to wait."""
    if (asker := _ASKER.get()) is not None:
        asker.wait()


def tell_load() -> None:
    """A load begins for whoever asks."""
    if (asker := _ASKER.get()) is not None:
        asker.load()
