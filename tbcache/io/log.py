"""Logs: an event is a name plus fields, one line each.

As a library tbcache speaks through the standard ``logging`` under ``tbcache`` and says
nothing unless asked. The commands call :func:`configure_logging`: then it goes to stderr.

A warning that repeats is written once, and then counted: see :class:`Repeated`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import re
import sys
import time
import warnings
from collections.abc import Callable
from typing import Literal, TextIO, cast

import structlog
from structlog.stdlib import BoundLogger, ExtraAdder, ProcessorFormatter

from tbcache.models.error import TbcacheWarning
from tbcache.models.untrusted import LINE, escaped, printable

#: The same warning is written once in so many seconds.
REPEAT_SECONDS = 10.0
#: How many different warnings are remembered.
MOST_KINDS = 500
#: Fields that tell two warnings of one event apart.
_WHY = ("source", "who", "kind", "reason", "error", "why")
#: Numbers, addresses and identifiers.
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{12,}|\d+")

# Without a handler, logging would print the bare names of our warnings on its own.
logging.getLogger("tbcache").addHandler(logging.NullHandler())


class Repeated(logging.Filter):
    """Lets a warning through once in ``REPEAT_SECONDS``, with how many like it were left out before.

    A failure in a loop, or in each of a thousand requests, would otherwise fill the disk with one
    line. Warnings are alike when logger, level, event and cause are; numbers do not tell them
    apart. Lower levels are no failures, and all pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        #: When each kind was last written, and how many were left out since. There is no lock, which a forked
        #: child might inherit locked: two threads that change it at once cost a line or a count.
        self._seen: dict[tuple[str, ...], tuple[float, int]] = {}

    def forget(self) -> None:
        """Let the next warning of every kind through."""
        self._seen.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        left_out = self._count(_kind(record))
        if left_out:
            record.repeated = left_out
        return left_out is not None

    def _count(self, kind: tuple[str, ...]) -> int | None:
        """How many of that kind were left out, when it is time for a line; None when it is not."""
        now = self._clock()
        written_at, left_out = self._seen.get(kind, (-math.inf, 0))
        is_due = now - written_at >= REPEAT_SECONDS
        if len(self._seen) >= MOST_KINDS:
            self._seen.clear()
        self._seen[kind] = (now, 0) if is_due else (written_at, left_out + 1)
        return left_out if is_due else None


class _Foreign(Repeated):
    """The same for a handler, where records of our own loggers have been counted before."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.startswith("tbcache.") or super().filter(record)


#: The filter of all our own loggers.
REPEATED = Repeated()
# The modules of background work stand below this one, and log without it.
logging.getLogger("tbcache.io").addFilter(REPEATED)


def get_logger(name: str) -> BoundLogger:
    """An event logger over the standard logger ``name``."""
    logger = logging.getLogger(name)
    # On the logger itself: a program that has set up logging in its own way is spared as well.
    logger.addFilter(REPEATED)
    return cast(
        BoundLogger,
        structlog.wrap_logger(
            logger,
            processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
            wrapper_class=BoundLogger,
            cache_logger_on_first_use=True,
        ),
    )


def has_handler() -> bool:
    """True where somebody has said what is to become of our logs."""
    logger: logging.Logger | None = logging.getLogger("tbcache")
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def warn_if_unlogged(message: str) -> None:
    """Warn by Python's own means, where our logs go nowhere; for what nobody may miss."""
    if not has_handler():
        # This may be a thread of ours, or amid a request: where warnings are made errors, it stays unsaid.
        with contextlib.suppress(TbcacheWarning):
            warnings.warn(message, TbcacheWarning, stacklevel=2)


def configure_logging(level: str, form: Literal["console", "json"]) -> None:
    """Send our events of ``level`` and above, and the warnings of libraries, to stderr in ``form``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Foreign())
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[ProcessorFormatter.remove_processors_meta, *_renderers(form)],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("tbcache").setLevel(level.upper())


def _kind(record: logging.LogRecord) -> tuple[str, ...]:
    """What makes two warnings alike: where they come from, what they say, and why."""
    said = [str(record.msg), *(str(getattr(record, name, "")) for name in _WHY)]
    if record.exc_info:
        said += [str(part) for part in record.exc_info[:2]]
    return (record.name, record.levelname, *(_NUMBER.sub("#", text[:200]) for text in said))


def _renderers(form: Literal["console", "json"]) -> tuple[structlog.typing.Processor, ...]:
    if form == "json":
        return structlog.processors.format_exc_info, structlog.processors.JSONRenderer()
    colors = sys.stderr.isatty()
    return _shown, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_format_exception)


def _shown(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What is told may be an upstream's word; other values are shown by ``repr``, which escapes."""
    return {
        name: printable(value, LINE) if isinstance(value, str) else value for name, value in event.items()
    }


def _format_exception(output: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    # Plain: the default shows the variables of each frame, credentials among them.
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    output.write(escaped(plain.getvalue()))
