"""What a driver raises of its own, in the terms of redis-py, and how several raise one error."""

from __future__ import annotations

from typing import TypeVar

import redis

E = TypeVar("E", bound=Exception)


class Unsent(redis.ConnectionError):
    """There was no connection: nothing was sent."""


def own_copy(error: E) -> E:
    """``error`` for one of several who raise it: an error collects the traces and notes of those who do.

    Its class is not called, which may put other words into it. It is ``error`` itself where the copy would
    not say the same.
    """
    kind = type(error)
    try:
        copied = kind.__new__(kind, *error.args)
        copied.args = error.args
        vars(copied).update(vars(error))
        if str(copied) != str(error) or any(vars(base).get("__slots__") for base in kind.__mro__):
            return error
        copied.__cause__, copied.__context__ = error.__cause__, error.__context__
        copied.__suppress_context__ = error.__suppress_context__
        if hasattr(error, "__notes__"):
            copied.__notes__ = [*error.__notes__]
        return copied.with_traceback(error.__traceback__)
    except Exception:
        return error
