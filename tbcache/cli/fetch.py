"""``tbcache fetch``: one answer, by the whole pipeline, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tbcache.cli.command import CSV, JSON, command, commands
from tbcache.cli.context import look_for_redis, quiet_settings
from tbcache.cli.error import exit_code, failure, say
from tbcache.cli.option import Hours, Patience, SourceName, Ticker
from tbcache.cli.output import OUTCOME_COLUMNS, outcome_data, outcome_row, show, terminal_width
from tbcache.cli.table import outcome_table
from tbcache.models import Outcome
from tbcache.models.age import rough
from tbcache.models.error import UpstreamError

if TYPE_CHECKING:
    from tbcache.settings import Settings


@command(commands, "fetch", "tbcache fetch twitter AAPL --hours 24", JSON, CSV)
def fetch(
    source: SourceName,
    symbol: Ticker,
    hours: Hours = 24,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="End with 4 instead of waiting for a slot.")
    ] = False,
    timeout: Patience = 30.0,
) -> None:
    """Fetch the sentiment of a symbol: from the cache, or from the upstream under its limits.

    Without any Redis it counts what your commands have sent from this machine. `tbcache up` counts all.
    """
    from tbcache.settings import get_source

    settings = quiet_settings()
    known = get_source(source, settings)
    request = known.request(symbol, hours)
    look_for_redis(settings)
    try:
        outcome = _run(settings, source, symbol, hours, 0.0 if no_wait else timeout)
    except UpstreamError as error:
        say(failure(request, error, known.variables))
        raise typer.Exit(exit_code(error)) from None
    if outcome.error is not None:
        say(
            f"{source}: the last refresh failed ({outcome.error.message}); "
            f"this answer is {rough(outcome.age)} old"
        )
    show(
        outcome_data(outcome),
        lambda: outcome_table([outcome], terminal_width()),
        columns=OUTCOME_COLUMNS,
        rows=[outcome_row(outcome)],
    )


def _run(settings: Settings, source: str, symbol: str, hours: int, patience: float) -> Outcome:
    # These read half of the library: not before the request is known to be sound.
    from tbcache.fleet import Fleet
    from tbcache.providers import get_provider

    provider = get_provider(source)
    provider.usage_monitor.count_as_command()
    try:
        return provider.fetch(symbol, hours, patience=patience)
    finally:
        ours, in_force = provider.source.limits, provider.rate_limiter.get_limits()
        if set(ours) != set(in_force):
            say(Fleet.of_process(settings).difference(source, ours, in_force))
        # An answer that was stale is being refreshed in the background.
        provider.pipeline.close()
        provider.client.close()
