"""The commands, put together: each module is imported when a command of it is run, or asks for help."""

from __future__ import annotations

import importlib
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from tbcache.cli.command import begins, commands
from tbcache.models.version import __version__

#: What the commands are for, in the order of `tbcache --help`.
PANELS = RUN, ASK, SEE, ACT, BUILD = (
    "Run a part of it",
    "Ask for sentiment",
    "See what the fleet does",
    "Have the fleet do something else",
    "Build a source of your own",
)


class Place(NamedTuple):
    """Where a command is: in which panel, in which module of this package; ``says`` is the line that `tbcache
    --help` has of it, which its own help begins with."""

    panel: str
    module: str
    says: str


#: In the order of `tbcache --help`.
PLACES = {
    "up": Place(
        RUN, "up", "Start everything on this machine and keep it running: server, workers, scheduler, API."
    ),
    "worker": Place(RUN, "process", "Run workers that fetch what is queued, under every source's limits."),
    "scheduler": Place(
        RUN, "process", "Run the scheduler, which keeps common symbols warm; of several, one works."
    ),
    "api": Place(RUN, "process", "Serve the HTTP API; its documentation is at /docs."),
    "simulator": Place(
        RUN, "process", "Serve a stand-in for the five upstream APIs, with their limits, for demos and tests."
    ),
    "faults": Place(
        RUN,
        "faults",
        "Show what goes wrong with the simulated upstreams of `tbcache up --demo`, and have it do so.",
    ),
    "fetch": Place(
        ASK,
        "fetch",
        "Fetch the sentiment of a symbol: from the cache, or from the upstream under its limits.",
    ),
    "enqueue": Place(
        ASK, "enqueue", "Queue fetches for the workers, and print what became of them with --wait."
    ),
    "warm": Place(
        ASK,
        "enqueue",
        "Warm symbols in every source that is on, or in one, behind whatever somebody waits for.",
    ),
    "history": Place(
        ASK,
        "history",
        "Show what would have been answered in the past, of what was known then. Asks nothing upstream.",
    ),
    "backfill": Place(
        ASK, "backfill", "Fetch older items into the database; run it again, and it goes on where it was."
    ),
    "status": Place(
        SEE, "status", "Show every source with its limits, hits and queue, every worker, and every trouble."
    ),
    "symbol": Place(
        SEE,
        "symbol",
        "Show what the cache of each source has of a symbol, and what is queued for it. Nothing is fetched.",
    ),
    "usage": Place(
        SEE,
        "usage",
        "Show what was asked for and what it cost: by source, worker, caller or day; or one source over "
        "time.",
    ),
    "changes": Place(
        SEE,
        "change",
        "List what has changed in the last hour: operators' orders, troubles, processes, new kinds of "
        "errors.",
    ),
    "audit": Place(SEE, "change", "List what operators have done in the last 30 days, the last first."),
    "doctor": Place(
        SEE,
        "doctor",
        "Check this machine, its settings, Redis, the fleet and each source; say what mends what is wrong.",
    ),
    "config": Place(
        SEE,
        "config",
        "Show every setting of this shell: its value, and where that is from. Secrets are masked.",
    ),
    "completion": Place(SEE, "completion", "Print what has a shell complete commands, options and sources."),
    "alert": Place(
        SEE,
        "alert",
        "List the fleet's rules of alerts, and the incidents: those that are open, and the last that ended.",
    ),
    "queue": Place(
        ACT, "queue", "Show what waits in the queues; pause, drain or resume one; cancel or promote a job."
    ),
    "limits": Place(
        ACT,
        "limits",
        "List every limit of every source, or set one: used, remaining, when the next slot comes free.",
    ),
    "dead": Place(ACT, "dead", "List the queued jobs that died, the last of each queue first, and why."),
    "cache": Place(ACT, "cache", "Show how the cache stands, or clear what is in it."),
    "record": Place(
        BUILD,
        "record",
        "Record what a source answers, without credentials: some pages, and what a refresh gets.",
    ),
    "provider": Place(BUILD, "record", "Check a source of your own."),
}


def load(name: str) -> Any:
    """The command of that name of ``PLACES``; imports its module."""
    importlib.import_module(f"tbcache.cli.{PLACES[name].module}")
    alone = typer.Typer()
    alone.registered_commands = [one for one in commands.registered_commands if one.name == name]
    alone.registered_groups = [one for one in commands.registered_groups if one.name == name]
    command = typer.main.get_group(alone).commands[name]
    command.rich_help_panel = PLACES[name].panel  # type: ignore[attr-defined]
    return command


class _Listed(TyperCommand):
    """A command as `tbcache --help` and the completion of its name have it."""

    def __init__(self, name: str, place: Place) -> None:
        super().__init__(name, help=place.says, rich_help_panel=place.panel, add_help_option=False)


class _Commands(TyperGroup):
    """All commands, in the order of their places. To import them takes ten times as long as to list them."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = {name: _Listed(name, place) for name, place in PLACES.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        return [*PLACES]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, found, rest = super().resolve_command(ctx, args)
        return name, load(name) if isinstance(found, _Listed) and name else found, rest


app = typer.Typer(
    name="tbcache",
    cls=_Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Example: tbcache up --demo, and in another terminal: tbcache fetch twitter AAPL",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tbcache {__version__}")
        raise typer.Exit


@begins(app)
def tbcache(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Fetch and cache market sentiment: never over an upstream's limit, never twice for one answer."""
