"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tbcache.cli.context import shell_settings
from tbcache.models.error import TbcacheError

Symbol = Annotated[str | None, typer.Option(help="Of this symbol.")]
CallerOf = Annotated[
    str | None, typer.Option("--caller", help="In the name of this caller, or of one below it.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say of how many it would be.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without being asked.")]


def names_like(incomplete: str) -> list[str]:
    """The names of sources that begin like that, for the completion of a shell.

    Nothing is asked: those of the settings, or the built-in ones where the settings are wrong.
    """
    # To read the settings takes longer than all of a short command.
    from tbcache.settings import BUILT_IN_NAMES, source_names

    try:
        known = source_names(shell_settings())
    except TbcacheError:
        known = BUILT_IN_NAMES
    return [name for name in known if name.startswith(incomplete)]


def _named(text: str) -> str:
    """The name of a source that is given by name, or as MODULE:CLASS."""
    if ":" not in text:
        return text
    from tbcache.settings import name_source

    return name_source(text)


OwnSource = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A source, like twitter, or MODULE:CLASS of your own.",
        callback=_named,
        autocompletion=names_like,
    ),
]
SourceName = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A source, like twitter.", autocompletion=names_like)
]
OnlySource = Annotated[
    str | None,
    typer.Option("--source", metavar="SOURCE", help="Of this source only.", autocompletion=names_like),
]
QueueName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A source, like twitter, or a queue.", autocompletion=names_like),
]
AnyQueue = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="A source or a queue; all by default.", autocompletion=names_like),
]
Who = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who does it, for the audit (default: you, on this machine)."),
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, for all to see.", show_default=False)]
Ticker = Annotated[str, typer.Argument(metavar="SYMBOL", help="A ticker, like AAPL.")]
Symbols = Annotated[list[str], typer.Argument(metavar="SYMBOL", help="Tickers, like AAPL or BRK.B.")]
Hours = Annotated[int, typer.Option(help="Look back this many hours.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the answers.")]
Patience = Annotated[float, typer.Option(min=0.0, help="Wait at most this many seconds for a slot.")]
Timeout = Annotated[float, typer.Option(min=0.0, help="Wait at most this many seconds.")]
Processes = Annotated[int, typer.Option(min=1, max=256, help="Run this many worker processes.")]
Threads = Annotated[int, typer.Option(min=1, max=1024, help="Give each this many threads.")]
Replay = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Answer with the recorded envelopes of this folder."),
]
