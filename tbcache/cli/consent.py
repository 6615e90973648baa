"""Whether what cannot be undone is to be done: each command that does such a thing asks here."""

from __future__ import annotations

import sys
from typing import Any

import typer

from tbcache.cli.error import say
from tbcache.cli.exit import FAILED
from tbcache.cli.output import tell


def is_meant(
    count: int,
    what: str,
    done: Any,
    *,
    hint: str = "",
    dry_run: bool,
    yes: bool,
) -> bool:
    """Say of how many it would be; True where it is to be done now, as somebody has said so.

    ``what`` goes on after "3 would be", and ``hint`` after all; ``done`` is printed as JSON where nothing is
    done: by a dry run, or of none.
    """
    if dry_run or not count:
        said = f"{count} would be" if dry_run else "none was"
        tell(done, f"{said} {what}{hint}")
        return False
    if not yes:
        confirm(f"{count} would be {what}{hint}")
    return True


def left(later: int) -> str:
    """What is said after what was done, where so many came while somebody was asked, and are not meant."""
    return f"; {later} that came while you were asked are left" if later > 0 else ""


def confirm(question: str) -> None:
    """Go on where somebody says so.

    Raises:
      typer.Exit: nobody is there to be asked. typer.Abort: they do not. KeyboardInterrupt: it is Ctrl-C.
    """
    if not sys.stdin.isatty():
        say(f"{question}: nothing was done, as nobody can be asked here; --yes does it")
        raise typer.Exit(FAILED)
    try:
        typer.confirm(f"{question}: go on?", abort=True, err=True)
    except typer.Abort as error:
        # A script that is interrupted is not to go on with the next one, as it may after a No.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
