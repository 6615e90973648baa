"""One object per process, however many threads ask for it first at the same moment."""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: There is one lock for all objects: the function that makes one may ask for others.
_lock = threading.RLock()


class singleton(Generic[P, T]):  # noqa: N801 -- used as a decorator, in the place of functools.cache
    """Like :func:`functools.cache`, which makes as many objects as there are threads in the race."""

    def __init__(self, make: Callable[P, T]) -> None:
        self._made: Any = functools.cache(make)
        functools.update_wrapper(self, make)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        with _lock:
            try:
                made: T = self._made(*args, **kwargs)
            except TypeError:
                # Of what the function does not take, the cache says only that it is "unhashable".
                inspect.signature(self).bind(*args, **kwargs)
                raise
            return made

    def cache_clear(self) -> None:
        """Forget what was made."""
        self._made.cache_clear()

    def cache_info(self) -> Any:
        """How many were made; see :func:`functools.cache`."""
        return self._made.cache_info()


def _after_fork() -> None:
    # Another thread of the parent may have held the old lock.
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
