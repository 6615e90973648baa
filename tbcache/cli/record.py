"""``tbcache record`` and ``tbcache provider check``: what a source answers, and whether it is read right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tbcache.cli.command import JSON, command, commands, group
from tbcache.cli.context import look_for_redis, quiet_settings
from tbcache.cli.error import exit_code, failure, say
from tbcache.cli.exit import FAILED, USAGE
from tbcache.cli.option import Hours, OwnSource, Patience, Ticker
from tbcache.cli.output import print_json, print_line, wants_json
from tbcache.models.error import UpstreamError

if TYPE_CHECKING:
    from tbcache.providers.conformance import Report


_FOLDER = Path("recordings")


@command(commands, "record", "tbcache record mybot.sources:Bluesky AAPL --out recordings", JSON)
def record(
    source: OwnSource,
    symbol: Ticker,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Write into this folder.")] = _FOLDER,
    hours: Hours = 24,
    pages: Annotated[int, typer.Option(min=1, max=100, help="Record at most this many pages.")] = 3,
    timeout: Patience = 60.0,
) -> None:
    """Record what a source answers, without credentials: some pages, and what a refresh gets.

    It keeps to the source's limits and budget, and writes over nothing.
    """
    settings = quiet_settings()
    from tbcache.settings import get_source

    request = get_source(source, settings).request(symbol, hours)
    from tbcache.providers import get_provider
    from tbcache.providers.tape import Plan, make

    plan = Plan(get_provider(source), request, pages, out)
    plan.check()
    say(str(plan))
    look_for_redis(settings)
    plan.provider.usage_monitor.count_as_command()
    try:
        files = make(plan, timeout)
    except UpstreamError as error:
        say(failure(request, error, plan.provider.source.variables))
        raise typer.Exit(exit_code(error)) from None
    finally:
        plan.provider.client.close()
    if wants_json():
        print_json({"source": source, "symbol": request.symbol, "files": [str(file) for file in files]})
        return
    for file in files:
        print_line(str(file))


@group(commands, "provider", "tbcache provider check mybot.sources:Bluesky --recordings recordings")
def provider() -> None:
    """Check a source of your own."""


@command(provider, "check", "tbcache provider check mybot.sources:Bluesky --recordings recordings", JSON)
def check(
    source: OwnSource,
    recordings: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder that `tbcache record` wrote into.")
    ] = _FOLDER,
) -> None:
    """Check by recordings that a source does what is expected of one; nothing is sent.

    Ends with 1 where something is wrong, and names each: the rule, the recording, and what would be right.
    """
    quiet_settings()
    from tbcache.providers import get_provider
    from tbcache.providers.conformance import check as look
    from tbcache.providers.recording import read_folder

    report = look(get_provider(source), read_folder(recordings, source))
    if not report.pages:
        say(f"no page of {source} is in {recordings}: `tbcache record` makes them")
        raise typer.Exit(USAGE)
    if wants_json():
        print_json({**report._asdict(), "findings": [one._asdict() for one in report.findings]})
    else:
        _print(report)
    if report.wrong:
        raise typer.Exit(FAILED)


def _print(report: Report) -> None:
    for finding in report.findings:
        print_line(f"{finding.level}: {finding}")
    wrong = {finding.rule for finding in report.wrong}
    cost = f", billed at ${report.dollars:.3f}" if report.dollars else ""
    print_line(
        f"{report.source}: {len(report.rules) - len(wrong)} of {len(report.rules)} rules kept, by "
        f"{_counted(report.recordings, 'recording')}: {_counted(report.pages, 'page')}, "
        f"{_counted(report.items, 'item')}{cost}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"
