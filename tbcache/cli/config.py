"""``tbcache config``: every setting as it is in force here, and where it is from."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tbcache.cli.command import CSV, JSON, command, commands
from tbcache.cli.context import quiet_settings
from tbcache.cli.error import say
from tbcache.cli.option import OnlySource
from tbcache.cli.output import columns_of, show
from tbcache.cli.table import rows_table
from tbcache.settings import get_source, variable
from tbcache.settings.origin import SettingValue, ignored, near_misses, settings_in_force


@command(commands, "config", "tbcache config --source twitter", JSON, CSV)
def config(
    source: OnlySource = None,
    is_all: Annotated[
        bool, typer.Option("--all", help="Show also what no variable says of the sources.")
    ] = False,
) -> None:
    """Show every setting of this shell: its value, and where that is from. Secrets are masked."""
    settings = quiet_settings()
    found = settings_in_force(settings)
    if source is not None:
        beginning = variable(get_source(source, settings).name, "")
        found = [one for one in found if one.variable.startswith(beginning)]
    elif not is_all:
        found = [one for one in found if one.is_set or "__" not in one.variable]
    if source is not None and not is_all:
        # What is nothing by default is, most of it, of other sources.
        found = [one for one in found if one.value or one.is_set]
    for names, before in ignored(settings):
        say(f"{', '.join(names)} count{'s' if len(names) == 1 else ''} for nothing: {before} goes before")
    for miss in near_misses(settings, os.environ):
        say(f"{miss.name} is no setting of tbcache; did you mean {miss.meant}?")
    show(
        found,
        lambda: rows_table(
            ("variable", "from", "value"), ((one.variable, one.origin, one.value or "-") for one in found)
        ),
        columns=columns_of(SettingValue),
    )
