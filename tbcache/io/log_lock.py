"""Locks of ``logging`` that no interrupt leaves taken.

A time limit, an abort and an operator's cancel raise an exception in a worker's thread, wherever that is.
Before Python 3.13, ``logging`` takes and releases a lock by functions in Python: an exception in one of them
leaves the lock taken for ever, and each thread that logs waits for it. What a line goes through, and a module
that a job is the first to import, is replaced here by what 3.13 has. It says ``with lock:``, where no
exception comes between the lock, which is written in C, and the body, nor between the body and the release.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable
from logging.handlers import MemoryHandler
from typing import Any

#: For handlers that have no lock.
_NO_LOCK = contextlib.nullcontext()
_HANDLE = logging.Handler.handle


def bear_interrupts() -> None:
    """Have an interrupt leave no lock taken in this process, whoever logs there, and by whichever logger."""
    if sys.version_info < (3, 13):
        for owner, name, function in _OF_3_13:
            setattr(owner, name, function)


def _is_enabled_for(logger: Any, level: int) -> bool:
    if logger.disabled:
        return False
    is_enabled: bool | None = logger._cache.get(level)
    if is_enabled is None:
        with logging._lock:  # type: ignore[attr-defined]
            is_enabled = logger.manager.disable < level and level >= logger.getEffectiveLevel()
            logger._cache[level] = is_enabled
    return is_enabled


def _get_logger(manager: Any, name: str) -> logging.Logger:
    if not isinstance(name, str):
        raise TypeError("A logger name must be a string")
    with logging._lock:  # type: ignore[attr-defined]
        found = manager.loggerDict.get(name)
        if found is not None and not isinstance(found, logging.PlaceHolder):
            return found  # type: ignore[no-any-return]
        made = (manager.loggerClass or logging.getLoggerClass())(name)
        made.manager = manager
        manager.loggerDict[name] = made
        if found is not None:
            manager._fixupChildren(found, made)
        manager._fixupParents(made)
        return made


def _handle(handler: logging.Handler, record: logging.LogRecord) -> Any:
    if type(handler).acquire is not logging.Handler.acquire:
        # It has another way to be locked, as by a file that other processes lock, too.
        return _HANDLE(handler, record)
    passed = handler.filter(record)
    # Since Python 3.12, a filter may put another record in the place of this one.
    if passed:
        with handler.lock or _NO_LOCK:
            handler.emit(passed if isinstance(passed, logging.LogRecord) else record)
    return passed


def _flush_stream(handler: logging.StreamHandler[Any]) -> None:
    with handler.lock or _NO_LOCK:
        if handler.stream and hasattr(handler.stream, "flush"):
            handler.stream.flush()


def _flush_memory(handler: MemoryHandler) -> None:
    with handler.lock or _NO_LOCK:
        if handler.target:
            for record in handler.buffer:
                handler.target.handle(record)
            handler.buffer.clear()


_OF_3_13: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (logging.Manager, "getLogger", _get_logger),
    (logging.Logger, "isEnabledFor", _is_enabled_for),
    (logging.Handler, "handle", _handle),
    (logging.StreamHandler, "flush", _flush_stream),
    (MemoryHandler, "flush", _flush_memory),
)
