"""``tbcache status``: the whole fleet, once, again and again, or its troubles alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from tbcache.cli.command import FORM, JSON, command, commands
from tbcache.cli.context import configured_fleet, quiet_settings, require_redis
from tbcache.cli.exit import FAILED, OK, REDIS_UNREACHABLE
from tbcache.cli.output import (
    print_json,
    print_json_line,
    print_line,
    print_table,
    terminal_width,
    wants_json,
)
from tbcache.cli.stop import StopSignal

if TYPE_CHECKING:
    from tbcache.fleet import Fleet, FleetStatus

#: What of a source is left out, where it is not asked for.
LISTS = ("kept", "slots")


#: So often it is looked, where nothing else is said.
EVERY_SECONDS = 1.0


@command(commands, "status", "tbcache status --check || echo something is wrong", JSON)
def status(
    check: Annotated[
        bool,
        typer.Option("--check", help="Print each trouble in a line, and end with 1 where there is one."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again until Ctrl-C; in a pipe, JSON in lines.")
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(min=0.2, max=3600.0, help="Look so often, in seconds, with --watch; else each second."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="In JSON, add each answer that is kept warm and each slot of a window."),
    ] = False,
) -> int:
    """Show every source with its limits, hits and queue, every worker, and every trouble."""
    if check and watch:
        raise typer.BadParameter("--check and --watch exclude each other")
    if every is not None and not watch:
        raise typer.BadParameter("it goes with --watch alone", param_hint="--every")
    if check:
        return _check(full=full)
    if watch:
        seconds = every or EVERY_SECONDS
        return _watch(configured_fleet(quiet_settings()), seconds, is_for_programs=wants_json(), full=full)
    found = require_redis(quiet_settings()).status()
    if wants_json():
        print_json(_said(found, full=full))
    else:
        # A pipe gets JSON, and needs no pictures.
        from tbcache.cli.dashboard import dashboard

        print_table(dashboard(found, terminal_width()))
    return OK


def _said(found: FleetStatus, *, full: bool) -> Any:
    """``found`` for programs. Its lists of answers and slots are most of it, and no state of the fleet."""
    said = msgspec.to_builtins(found)
    for source in [] if full else said["sources"]:
        for name in LISTS:
            del source[name]
    return said


def _check(*, full: bool) -> int:
    """For a health check: that Redis is away is a trouble like any other, with the exit code of its own."""
    found = configured_fleet(quiet_settings()).status()
    if FORM.get().as_json:
        print_json(_said(found, full=full))
    else:
        for line in found.lines:
            print_line(line)
    if not found.server.is_available:
        return REDIS_UNREACHABLE
    return FAILED if found.troubles else OK


def _watch(fleet: Fleet, every: float, *, is_for_programs: bool, full: bool) -> int:
    """Until a signal. A Redis that goes away meanwhile is shown like everything else."""
    with StopSignal() as stop:
        if is_for_programs:
            while not stop.is_set():
                print_json_line(_said(fleet.status(), full=full))
                stop.rest(every)
            return OK
        from tbcache.cli.display import LiveDisplay

        display = LiveDisplay(("stop    Ctrl-C",))
        try:
            while not stop.is_set():
                display.show(fleet.status(), None)
                stop.rest(every)
        finally:
            display.close()
    return OK
