"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from tbcache.cli import backfill, fetch, history, process, queue, record, status, up
from tbcache.cli.option import DataDir
from tbcache.models.version import __version__

app = typer.Typer(
    name="tbcache",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Example: tbcache up --demo, and in another terminal: tbcache fetch twitter AAPL",
)
cache = typer.Typer(epilog=status.CLEAR_EXAMPLE)
provider = typer.Typer(epilog=record.CHECK_EXAMPLE)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tbcache {__version__}")
        raise typer.Exit


@app.callback()
def tbcache(
    data_dir: DataDir = None,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Fetch and cache market sentiment: never over an upstream's limit, never twice for one answer."""


@cache.callback()
def _cache(data_dir: DataDir = None) -> None:
    """Clear what is cached."""


@provider.callback()
def _provider(data_dir: DataDir = None) -> None:
    """Check a source of your own."""


app.command(epilog=up.EXAMPLE)(up.up)
app.command(epilog=fetch.EXAMPLE)(fetch.fetch)
app.command(epilog=backfill.EXAMPLE)(backfill.backfill)
app.command(epilog=history.EXAMPLE)(history.history)
app.command(epilog=queue.ENQUEUE_EXAMPLE)(queue.enqueue)
app.command(epilog=queue.WARM_EXAMPLE)(queue.warm)
app.command(epilog=queue.DEAD_EXAMPLE)(queue.dead)
app.command(epilog=status.STATUS_EXAMPLE)(status.status)
app.command(epilog=status.LIMITS_EXAMPLE)(status.limits)
cache.command("clear", epilog=status.CLEAR_EXAMPLE)(status.clear)
app.add_typer(cache, name="cache")
app.command(epilog=record.RECORD_EXAMPLE)(record.record)
provider.command("check", epilog=record.CHECK_EXAMPLE)(record.check)
app.add_typer(provider, name="provider")
app.command(epilog=process.WORKER_EXAMPLE)(process.worker)
app.command(epilog=process.SCHEDULER_EXAMPLE)(process.scheduler)
app.command(epilog=process.API_EXAMPLE)(process.api)
app.command(epilog=process.SIMULATOR_EXAMPLE)(process.simulator)
