"""The commands, put together."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tbcache.cli import (
    alert,
    audit,
    backfill,
    cache,
    change,
    completion,
    config,
    dead,
    doctor,
    enqueue,
    faults,
    fetch,
    history,
    limits,
    process,
    queue,
    record,
    status,
    up,
    usage,
)
from tbcache.cli.option import DataDir
from tbcache.models.version import __version__

#: What the commands are for, in the order of `tbcache --help`.
PANELS = RUN, ASK, SEE, ACT, BUILD = (
    "Run a part of it",
    "Ask for sentiment",
    "See what the fleet does",
    "Have the fleet do something else",
    "Build a source of your own",
)


class _ByPanel(TyperGroup):
    """The commands in the order of their panels; Typer has all groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=self._place)

    def _place(self, name: str) -> int:
        return PANELS.index(str(getattr(self.commands[name], "rich_help_panel", "")))


app = typer.Typer(
    name="tbcache",
    cls=_ByPanel,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Example: tbcache up --demo, and in another terminal: tbcache fetch twitter AAPL",
)
alerts = typer.Typer(epilog=alert.EXAMPLE, invoke_without_command=True)
caches = typer.Typer(epilog=cache.CLEAR_EXAMPLE)
queues = typer.Typer(epilog=queue.PAUSE_EXAMPLE)
dead_letters = typer.Typer(epilog=dead.REQUEUE_EXAMPLE, invoke_without_command=True)
all_limits = typer.Typer(epilog=limits.SET_EXAMPLE, invoke_without_command=True)
all_faults = typer.Typer(epilog=faults.SET_EXAMPLE, invoke_without_command=True)
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


@caches.callback()
def _cache(data_dir: DataDir = None) -> None:
    """Show how the cache stands, or clear what is in it."""


@queues.callback()
def _queues(data_dir: DataDir = None) -> None:
    """Show what waits in the queues; pause, drain or resume one; cancel or promote a job."""


@provider.callback()
def _provider(data_dir: DataDir = None) -> None:
    """Check a source of your own."""


app.command(rich_help_panel=RUN, epilog=up.EXAMPLE)(up.up)
app.command(rich_help_panel=ASK, epilog=fetch.EXAMPLE)(fetch.fetch)
app.command(rich_help_panel=ASK, epilog=enqueue.EXAMPLE)(enqueue.enqueue)
app.command(rich_help_panel=ASK, epilog=enqueue.WARM_EXAMPLE)(enqueue.warm)
app.command(rich_help_panel=ASK, epilog=history.EXAMPLE)(history.history)
app.command(rich_help_panel=ASK, epilog=backfill.EXAMPLE)(backfill.backfill)
app.command(rich_help_panel=SEE, epilog=status.EXAMPLE)(status.status)
app.command(rich_help_panel=SEE, epilog=usage.EXAMPLE)(usage.usage)
app.command(rich_help_panel=SEE, epilog=change.EXAMPLE)(change.changes)
app.command(rich_help_panel=SEE, epilog=audit.EXAMPLE)(audit.audit)
app.command(rich_help_panel=SEE, epilog=doctor.EXAMPLE)(doctor.doctor)
app.command(rich_help_panel=SEE, epilog=config.EXAMPLE)(config.config)

alerts.callback()(alert.alert)
alerts.command("test", epilog=alert.TEST_EXAMPLE)(alert.send_test)
app.add_typer(alerts, name="alert", rich_help_panel=SEE)

queues.command("stats", epilog=queue.STATS_EXAMPLE)(queue.stats)
queues.command("list", epilog=queue.LIST_EXAMPLE)(queue.list_jobs)
queues.command("explain", epilog=queue.EXPLAIN_EXAMPLE)(queue.explain)
queues.command("pause", epilog=queue.PAUSE_EXAMPLE)(queue.pause)
queues.command("drain", epilog=queue.DRAIN_EXAMPLE)(queue.drain)
queues.command("resume", epilog=queue.RESUME_EXAMPLE)(queue.resume)
queues.command("weight", epilog=queue.WEIGHT_EXAMPLE)(queue.weight)
queues.command("cancel", epilog=queue.CANCEL_EXAMPLE)(queue.cancel)
queues.command("promote", epilog=queue.PROMOTE_EXAMPLE)(queue.promote)
app.add_typer(queues, name="queue", rich_help_panel=ACT)

all_limits.callback()(limits.limits)
all_limits.command("show", epilog=limits.SHOW_EXAMPLE)(limits.show_limits)
all_limits.command("set", epilog=limits.SET_EXAMPLE)(limits.set_limits)
all_limits.command("unset", epilog=limits.UNSET_EXAMPLE)(limits.unset_limits)
all_limits.command("reopen", epilog=limits.REOPEN_EXAMPLE)(limits.reopen)
all_limits.command("reset", epilog=limits.RESET_EXAMPLE)(limits.reset)
app.add_typer(all_limits, name="limits", rich_help_panel=ACT)

dead_letters.callback()(dead.dead)
dead_letters.command("list", epilog=dead.LIST_EXAMPLE)(dead.list_dead)
dead_letters.command("requeue", epilog=dead.REQUEUE_EXAMPLE)(dead.requeue)
dead_letters.command("purge", epilog=dead.PURGE_EXAMPLE)(dead.purge)
app.add_typer(dead_letters, name="dead", rich_help_panel=ACT)

caches.command("stats", epilog=cache.STATS_EXAMPLE)(cache.stats)
caches.command("clear", epilog=cache.CLEAR_EXAMPLE)(cache.clear)
app.add_typer(caches, name="cache", rich_help_panel=ACT)

app.command(rich_help_panel=RUN, epilog=process.WORKER_EXAMPLE)(process.worker)
app.command(rich_help_panel=RUN, epilog=process.SCHEDULER_EXAMPLE)(process.scheduler)
app.command(rich_help_panel=RUN, epilog=process.API_EXAMPLE)(process.api)
app.command(rich_help_panel=RUN, epilog=process.SIMULATOR_EXAMPLE)(process.simulator)

all_faults.callback()(faults.faults)
all_faults.command("list", epilog=faults.LIST_EXAMPLE)(faults.list_faults)
all_faults.command("set", epilog=faults.SET_EXAMPLE)(faults.set_faults)
all_faults.command("clear", epilog=faults.CLEAR_EXAMPLE)(faults.clear_faults)
app.add_typer(all_faults, name="faults", rich_help_panel=RUN)
app.command(rich_help_panel=SEE, epilog=completion.EXAMPLE)(completion.completion)
app.command(rich_help_panel=BUILD, epilog=record.RECORD_EXAMPLE)(record.record)
provider.command("check", epilog=record.CHECK_EXAMPLE)(record.check)
app.add_typer(provider, name="provider", rich_help_panel=BUILD)
