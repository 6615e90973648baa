"""Logs: an event is a name plus fields, one line each.

As a library tbcache speaks through the standard ``logging`` under ``tbcache`` and says
nothing unless asked: see :class:`Event`. The commands call :func:`configure_logging`: then it goes to stderr.

A warning that repeats is written once, and then counted: see :class:`Repeated`.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter
from structlog.typing import EventDict

from tbcache.io.log_file import open_log_file
from tbcache.io.redact import Redactor
from tbcache.io.trace import ids
from tbcache.models.error import TbcacheWarning
from tbcache.models.untrusted import LINE, escaped, printable

#: The same warning is written once in so many seconds.
REPEAT_SECONDS = 10.0
#: How many different warnings are remembered.
MOST_KINDS = 500
#: Of a program's own lines so many are written in that time that differ by numbers alone.
MOST_ALIKE = 20
#: Fields that tell two warnings of one event apart: by all that they say, or by all but its numbers.
_WHOSE, _WHY = ("source", "who", "kind", "incident"), ("reason", "error", "why")
#: Numbers, addresses and identifiers.
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{12,}|\d+")

#: What two lines have in common that are alike.
Kind = tuple[str, ...]

# Without a handler, logging would print the bare names of our warnings on its own.
logging.getLogger("tbcache").addHandler(logging.NullHandler())


class Repeated(logging.Filter):
    """Lets a warning through once in ``REPEAT_SECONDS``, with how many like it were left out before.

    A failure in a loop, or in each of a thousand requests, would otherwise fill the disk with one
    line. Warnings are alike when logger, level, event and cause are; numbers in the cause do not tell
    them apart. Of other loggers' lines, which may name an order by its number, a few that differ by
    numbers pass. Lower levels are no failures, and all pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        #: When each kind was last written, what of it since then, and how many were left out. There is no
        #: lock, which a forked child might inherit locked: two threads at once cost a line or a count.
        self._seen: dict[Kind, tuple[float, frozenset[Kind], int]] = {}

    def forget(self) -> None:
        """Let the next warning of every kind through."""
        self._seen.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        left_out = self._count(*_kind(record))
        if left_out:
            record.repeated = left_out
        return left_out is not None

    def _count(self, kind: Kind, whole: Kind) -> int | None:
        """How many of that kind were left out, when it is time for a line; None when it is not."""
        now = self._clock()
        written_at, written, left_out = self._seen.get(kind, (-math.inf, frozenset[Kind](), 0))
        if now - written_at >= REPEAT_SECONDS:
            written_at, written = now, frozenset()
        is_due = whole not in written and len(written) < MOST_ALIKE
        if len(self._seen) >= MOST_KINDS:
            self._seen.clear()
        self._seen[kind] = (
            (written_at, written | {whole}, 0) if is_due else (written_at, written, left_out + 1)
        )
        return left_out if is_due else None


class _Foreign(Repeated):
    """The same for a handler, where records of our own loggers have been counted before."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.startswith("tbcache.") or super().filter(record)


class Event(str):
    """The name of an event, a record's ``msg``. In words, which a program's own handlers ask for, it has its
    fields behind it: without them ``redis.none`` is all that a ``logging.basicConfig()`` shows.
    """

    _fields: Mapping[str, Any]

    # A record may be copied or pickled, which makes the name first, and the fields then.
    def __new__(cls, name: str, fields: Mapping[str, Any] = MappingProxyType({})) -> Event:
        event = super().__new__(cls, name)
        event._fields = fields
        return event

    def __str__(self) -> str:
        fields = _shown(Redactor().fields(self._fields))
        return f"{self.name} {_IN_WORDS(None, '', fields)}".rstrip()

    @property
    def name(self) -> str:
        return str.__str__(self)


_IN_WORDS = structlog.processors.LogfmtRenderer(bool_as_flag=False)


class _Formatter(ProcessorFormatter):
    """One that shows the fields of a record by itself."""

    def format(self, record: logging.LogRecord) -> str:
        event = record.msg
        if isinstance(event, Event):
            record = copy.copy(record)
            record.msg = event.name
        return super().format(record)


#: The filter of all our own loggers.
REPEATED = Repeated()
# The modules of background work stand below this one, and log without it.
logging.getLogger("tbcache.io").addFilter(REPEATED)


class Logger(structlog.stdlib.BoundLogger):
    """One that raises nothing: whoever logs has something to do, which must not be left undone because a
    program's own filter, or the factory of its records, cannot take a line.
    """

    def _proxy_to_logger(
        self, method_name: str, event: str | None = None, *event_args: str, **event_kw: Any
    ) -> Any:
        try:
            return super()._proxy_to_logger(method_name, event, *event_args, **event_kw)
        except Exception:
            # Most often a record has a field of ours already: then all of them stand in the words.
            fields = {name: value for name, value in event_kw.items() if name != "exc_info"}
            with contextlib.suppress(Exception):
                getattr(self._logger, method_name)(str(Event(event or "", fields)))
        return None


def get_logger(name: str) -> Logger:
    """An event logger over the standard logger ``name``."""
    logger = logging.getLogger(name)
    # On the logger itself: a program that has set up logging in its own way is spared as well.
    logger.addFilter(REPEATED)
    return cast(
        Logger,
        structlog.wrap_logger(
            logger,
            processors=[structlog.stdlib.filter_by_level, _to_log],
            wrapper_class=Logger,
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


def configure_logging(
    level: str,
    form: Literal["console", "json"],
    secrets: Iterable[str] = (),
    file: Path | None = None,
) -> None:
    """Send our events of ``level`` and above, and the warnings of libraries, to stderr in ``form``.

    At the level ``debug`` the libraries' own events come as well. None of the ``secrets`` is in a line. With
    a ``file``, stderr and stdout of this process are that file, from then on.

    Raises:
      ConfigurationError: the file is another process's, or cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr) if file is None else open_log_file(file)
    handler.addFilter(_Foreign())
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                _add_trace,
                structlog.stdlib.add_log_level,
                ExtraAdder(),
                _name_library,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[ProcessorFormatter.remove_processors_meta, *_renderers(form, Redactor(secrets))],
        )
    )
    of_libraries = logging.INFO if level == "debug" else logging.WARNING
    logging.basicConfig(level=of_libraries, handlers=[handler], force=True)
    logging.getLogger("tbcache").setLevel(level.upper())


def log_what_breaks() -> None:
    """Have the log tell of errors that nobody catches, in this process's threads as well, and of warnings.

    For processes of ours: a program that uses the library has ways of its own.
    """
    logging.captureWarnings(True)
    # A line that cannot be written would be told of on stderr, with all that it was to say.
    logging.raiseExceptions = False
    log = get_logger("tbcache.process")

    def of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            log.critical("process.broke", exc_info=(kind, error, trace))

    def of_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None and found.exc_type is not SystemExit:
            who = found.thread.name if found.thread is not None else ""
            log.error(
                "thread.broke", who=who, exc_info=(found.exc_type, found.exc_value, found.exc_traceback)
            )

    def of_object(found: sys.UnraisableHookArgs) -> None:
        if found.exc_value is not None:
            what = (found.exc_type, found.exc_value, found.exc_traceback)
            log.error("error.ignored", where=found.err_msg or "in a finalizer", exc_info=what)

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_process, of_thread, of_object


def bind(**fields: str) -> None:
    """Have each line that this thread or task logs from now on carry ``fields``, and none bound before."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**fields)


def unbind() -> None:
    """Undo :func:`bind`."""
    structlog.contextvars.clear_contextvars()


def _kind(record: logging.LogRecord) -> tuple[Kind, Kind]:
    """What makes two warnings alike: where they come from, what they say and why; and what, the same."""
    is_ours = record.name.startswith("tbcache.")
    whose = (record.name, record.levelname, *(str(getattr(record, name, "")) for name in _WHOSE))
    why = [str(getattr(record, name, "")) for name in _WHY]
    if record.exc_info:
        why += [str(part) for part in record.exc_info[:2]]
    whole = (*whose, _said(record)[:LINE], *(text[:LINE] for text in why))
    kind = (*whose, *(_NUMBER.sub("#", text) for text in whole[len(whose) :]))
    return kind, kind if is_ours else whole


def _said(record: logging.LogRecord) -> str:
    if isinstance(record.msg, Event):
        return record.msg.name
    try:
        return record.getMessage()
    except Exception:
        # Arguments that do not fit: whoever writes the line says so.
        return str(record.msg)


def _to_log(logger: logging.Logger, method: str, event: EventDict) -> EventDict:
    """The arguments of the standard logger's method."""
    call = structlog.stdlib.render_to_log_kwargs(logger, method, event)
    return {**call, "msg": Event(call["msg"], call["extra"])}


def _shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What is told may be an upstream's word; other values are shown by ``repr``, which escapes."""
    return {name: printable(one, LINE) if isinstance(one, str) else one for name, one in fields.items()}


def _add_trace(_logger: object, _method: str, event: EventDict) -> EventDict:
    """The span that runs, where one does."""
    event.update(ids())
    return event


def _name_library(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Say whose line it is, where it is not ours."""
    name = event["_record"].name
    if not name.startswith("tbcache."):
        event["logger"] = name
    return event


def _renderers(
    form: Literal["console", "json"], redactor: Redactor
) -> tuple[structlog.typing.Processor, ...]:
    def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
        return redactor.fields(event)

    def show(_logger: object, _method: str, event: EventDict) -> EventDict:
        trace = {"exc_info": event.pop("exc_info")} if "exc_info" in event else {}
        return {**_shown(redactor.fields(event)), **trace}

    def format_exception(output: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
        # Plain: the default shows the variables of each frame, credentials among them.
        plain = io.StringIO()
        structlog.dev.plain_traceback(plain, exc_info)
        output.write(escaped(redactor.text(plain.getvalue())))

    if form == "json":
        return structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer()
    colors = sys.stderr.isatty()
    return show, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=format_exception)
