"""Whether the calls of an object are to be awaited, on any Python: the mark of it is another before 3.12."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any


def mark_coroutine_function(function: Any) -> None:
    """Have schedulers and web frameworks await what it returns, as they look before they call."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:
        function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]


def is_coroutine_function(function: object) -> bool:
    """True for an ``async`` function, for what is marked as one, and for an object that is called by one."""
    return _is_marked(function) or (callable(function) and _is_marked(type(function).__call__))


def _is_marked(function: object) -> bool:
    if sys.version_info >= (3, 12):
        return inspect.iscoroutinefunction(function)
    return asyncio.iscoroutinefunction(function)
