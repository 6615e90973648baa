"""What the rules have found of a text, kept while many answers are made of the same texts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: So many findings are kept, at most: with sketches of some 2 KB each that is 40 MB.
MOST = 20_000

_found: ContextVar[dict[Hashable, Any] | None] = ContextVar("_found", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Within this block each text is looked at once, as a history makes hundreds of answers of it."""
    token = _found.set({})
    try:
        yield
    finally:
        _found.reset(token)


def remembered(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """``function``, a pure one of hashable arguments, which is not called twice for the same while
    :func:`remembering`.
    """

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        found = _found.get()
        if found is None or kwargs:
            return function(*args, **kwargs)
        key = function, args
        if key not in found:
            if len(found) >= MOST:
                found.clear()
            found[key] = function(*args, **kwargs)
        known: _T = found[key]
        return known

    return call
