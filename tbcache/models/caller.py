"""Callers: in whose name something is asked, or queued."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextvars import ContextVar

from tbcache.models.error import InvalidRequest

MOST_LETTERS = 64
_NAME = re.compile(r"[A-Za-z0-9._@\-]+(/[A-Za-z0-9._@\-]+)*")

#: In whose name this thread, or task, asks; None where it is the process's own.
current_caller: ContextVar[str | None] = ContextVar("current_caller", default=None)


def check_caller(name: object) -> str:
    """``name``, which is a caller's.

    Raises:
      InvalidRequest: it is no such name.
    """
    if not isinstance(name, str) or len(name) > MOST_LETTERS or not _NAME.fullmatch(name):
        shown = f"{name!r:.80}"
        raise InvalidRequest(
            f"{shown} is no caller: it should be 1-{MOST_LETTERS} letters, digits, dots, dashes, underscores "
            "or @, in parts that are joined by /, like desk/bot-1"
        )
    return name


def is_below(caller: str, name: str) -> bool:
    """Whether ``caller`` is ``name``, or one below it, as desk/bot-1 is below desk, in any case."""
    return f"{caller}/".casefold().startswith(f"{name}/".casefold())


@contextlib.contextmanager
def caller(name: str) -> Iterator[None]:
    """Ask and queue in the name of ``name`` within the block, in this thread or task; see docs/fairness.md.

    Raises:
      InvalidRequest: it is no name of a caller.
    """
    token = current_caller.set(check_caller(name))
    try:
        yield
    finally:
        current_caller.reset(token)
