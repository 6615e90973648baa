"""``tbcache doctor``: what is wrong here, and what mends it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tbcache.cli.command import CSV, JSON, command, commands
from tbcache.cli.context import configured_fleet, look_for_redis, quiet_settings
from tbcache.cli.error import say
from tbcache.cli.exit import FAILED, OK
from tbcache.cli.output import columns_of, show, shown
from tbcache.cli.progress import progress
from tbcache.fleet import Finding, Fleet, credentials_finding
from tbcache.models.error import ConfigurationError, RedisUnreachable, TbcacheError
from tbcache.models.untrusted import LINE
from tbcache.settings import Settings, get_sources
from tbcache.settings.origin import near_misses

#: For so long a slot is waited for, where the credentials are tried.
PATIENCE = 5.0
_STYLES = {"ok": "green", "note": "yellow", "wrong": "red"}
_SIGNS = {"ok": "ok", "note": "note", "wrong": "WRONG"}


@command(commands, "doctor", "tbcache doctor --ask", JSON, CSV)
def doctor(
    ask: Annotated[
        bool,
        typer.Option(
            "--ask", help="Try the credentials of each source as well, by one request: it takes a slot."
        ),
    ] = False,
) -> int:
    """Check this machine, its settings, Redis, the fleet and each source; say what mends what is wrong.

    Ends with 1 where something is wrong. Nothing is changed, and nothing is asked upstream without --ask.
    """
    settings = quiet_settings()
    # That there is none is told like the rest; but not of another one than is meant.
    fleet = Fleet.of_process(settings) if settings.redis is None else configured_fleet(settings)
    found = [*_variables(settings), *fleet.checkup()]
    if ask:
        try:
            look_for_redis(settings)
        except (ConfigurationError, RedisUnreachable) as error:
            # What was found says that as well, and the rest of it counts.
            say(f"no upstream is asked: {error}")
        else:
            found += _credentials(settings)
    show(found, lambda: _page(found), columns=columns_of(Finding))
    return FAILED if any(one.level == "wrong" for one in found) else OK


def _variables(settings: Settings) -> Iterator[Finding]:
    for miss in near_misses(settings, os.environ):
        what = f"the variable {miss.name} is none of ours, and changes nothing"
        yield Finding("wrong", "settings", what, f"did you mean {miss.meant}?")


def _credentials(settings: Settings) -> list[Finding]:
    # They read half of the library, and only who asks for it needs them.
    from tbcache.providers import get_provider
    from tbcache.providers.probe import probe

    able, found = [one for one in get_sources(settings).values() if one.is_enabled], list[Finding]()
    with progress("asking the upstreams", len(able)) as tell:
        for source in able:
            provider = get_provider(source.name)
            try:
                items = probe(provider, settings.common_symbols[0], PATIENCE)
                found.append(credentials_finding(source, None, items))
            except TbcacheError as error:
                found.append(credentials_finding(source, error, 0))
            finally:
                provider.client.close()
            tell(1)
    return found


def _page(found: Iterable[Finding]) -> RenderableType:
    """What is wrong stands where it belongs, each with what mends it below."""
    every = list(found)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for one in every:
        words = shown(one.what, most=LINE)
        if one.fix:
            words.append_text(Text("\n-> ", style="bold")).append_text(shown(one.fix, "bold", LINE))
        table.add_row(Text(_SIGNS[one.level], style=_STYLES[one.level]), shown(one.about), words)
    wrong = sum(one.level == "wrong" for one in every)
    many = f"{wrong} thing{'s are' if wrong > 1 else ' is'} wrong"
    end = Text(many, "red") if wrong else Text("nothing is wrong", "green")
    return Group(table, Text(), end)
