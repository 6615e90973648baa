"""Logs: an event is a name plus fields, one line each.

As a library tbcache speaks through the standard ``logging`` under ``tbcache`` and says
nothing unless asked. The commands call :func:`configure_logging`: then it goes to stderr.
"""

from __future__ import annotations

import logging
import sys
from typing import cast

import structlog
from structlog.stdlib import BoundLogger, ExtraAdder, ProcessorFormatter

from tbcache.settings import Settings

# Without it, logging would print the bare names of our warnings on its own.
logging.getLogger("tbcache").addHandler(logging.NullHandler())


def get_logger(name: str) -> BoundLogger:
    """An event logger over the standard logger ``name``."""
    return cast(
        BoundLogger,
        structlog.wrap_logger(
            logging.getLogger(name),
            processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
            wrapper_class=BoundLogger,
            cache_logger_on_first_use=True,
        ),
    )


def configure_logging(settings: Settings) -> None:
    """Send our events, and the warnings of libraries, to stderr in the form the settings ask for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[ProcessorFormatter.remove_processors_meta, *_renderers(settings)],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("tbcache").setLevel(settings.log_level.upper())


def _renderers(settings: Settings) -> tuple[structlog.typing.Processor, ...]:
    if settings.log_format == "json":
        return structlog.processors.format_exc_info, structlog.processors.JSONRenderer()
    # Plain: the default shows the variables of each frame, credentials among them.
    plain = structlog.dev.plain_traceback
    return (structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain),)
