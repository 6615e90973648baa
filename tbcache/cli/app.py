"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from tbcache.cli import backfill, dead, fetch, history, operate, process, queue, record, status, up
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
queues = typer.Typer(epilog=operate.QUEUE_EXAMPLE)
dead_letters = typer.Typer(epilog=dead.DEAD_EXAMPLE, invoke_without_command=True)
limits = typer.Typer(epilog=operate.LIMITS_EXAMPLE, invoke_without_command=True)
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


@queues.callback()
def _queues(data_dir: DataDir = None) -> None:
    """Have a source or a queue paused, drained, or go on; explain a job."""


@provider.callback()
def _provider(data_dir: DataDir = None) -> None:
    """Check a source of your own."""


app.command(epilog=up.EXAMPLE)(up.up)
app.command(epilog=fetch.EXAMPLE)(fetch.fetch)
app.command(epilog=backfill.EXAMPLE)(backfill.backfill)
app.command(epilog=history.EXAMPLE)(history.history)
app.command(epilog=queue.ENQUEUE_EXAMPLE)(queue.enqueue)
app.command(epilog=queue.WARM_EXAMPLE)(queue.warm)
dead_letters.callback()(dead.dead)
dead_letters.command("list", epilog=dead.LIST_EXAMPLE)(dead.show)
dead_letters.command("requeue", epilog=dead.DEAD_EXAMPLE)(dead.requeue)
dead_letters.command("purge", epilog=dead.PURGE_EXAMPLE)(dead.purge)
app.add_typer(dead_letters, name="dead")
app.command(epilog=status.STATUS_EXAMPLE)(status.status)
limits.callback()(status.limits)
limits.command("show", epilog=operate.LIMITS_EXAMPLE)(operate.show)
limits.command("set", epilog=operate.LIMITS_EXAMPLE)(operate.set_limits)
limits.command("unset", epilog="Example: tbcache limits unset twitter")(operate.unset_limits)
limits.command("reopen", epilog="Example: tbcache limits reopen twitter")(operate.reopen)
limits.command("reset", epilog="Example: tbcache limits reset twitter --yes")(operate.reset)
app.add_typer(limits, name="limits")
queues.command("pause", epilog=operate.QUEUE_EXAMPLE)(operate.pause)
queues.command("drain", epilog=operate.DRAIN_EXAMPLE)(operate.drain)
queues.command("resume", epilog=operate.RESUME_EXAMPLE)(operate.resume)
queues.command("weight", epilog=operate.WEIGHT_EXAMPLE)(operate.weight)
queues.command("cancel", epilog=operate.CANCEL_EXAMPLE)(operate.cancel)
queues.command("promote", epilog=operate.PROMOTE_EXAMPLE)(operate.promote)
queues.command("explain", epilog=queue.EXPLAIN_EXAMPLE)(queue.explain)
app.add_typer(queues, name="queue")
app.command(epilog=operate.AUDIT_EXAMPLE)(operate.audit)
cache.command("clear", epilog=status.CLEAR_EXAMPLE)(status.clear)
app.add_typer(cache, name="cache")
app.command(epilog=record.RECORD_EXAMPLE)(record.record)
provider.command("check", epilog=record.CHECK_EXAMPLE)(record.check)
app.add_typer(provider, name="provider")
app.command(epilog=process.WORKER_EXAMPLE)(process.worker)
app.command(epilog=process.SCHEDULER_EXAMPLE)(process.scheduler)
app.command(epilog=process.API_EXAMPLE)(process.api)
app.command(epilog=process.SIMULATOR_EXAMPLE)(process.simulator)
