"""The command line: ``tbcache``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tbcache.cli import interrupt
from tbcache.cli.exit import OK, USAGE

_SERVED_BY = {
    "up": ("fastapi", "jinja2", "uvicorn"),
    "api": ("fastapi", "jinja2", "uvicorn"),
    "simulator": ("fastapi", "uvicorn"),
    "scheduler": ("apscheduler",),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: see ``tbcache/cli/exit.py``."""
    if args is None:
        interrupt.end_while_starting()
    _open_streams()
    words = list(sys.argv[1:] if args is None else args)
    # Not above, as whatever takes long to import: Ctrl-C would be a traceback.
    if words == ["--version"]:
        from tbcache.models.version import __version__

        # At once, and without an extra: all that the commands import takes half a second.
        print(f"tbcache {__version__}")  # noqa: T201
        return OK
    from tbcache.models.error import MissingExtra

    try:
        _check_extras(words)
    except MissingExtra as error:
        print(f"tbcache: {error}", file=sys.stderr)  # noqa: T201
        return USAGE
    from tbcache.cli.app import app
    from tbcache.cli.error import run

    return run(app, words)


def _open_streams() -> None:
    """Stand-ins for the streams that whoever started this has closed: else what is opened next would have
    their numbers, and a server read as a socket what a library prints."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _check_extras(words: Sequence[str]) -> None:
    """See that what the command runs on is installed, then what every command prints with."""
    from tbcache.models.extra import need

    command = words[0] if words and not words[0].startswith("-") else ""
    what = f"tbcache {command}".strip()
    need(what, *_SERVED_BY.get(command, ()))
    need(what, "rich", "typer")
