"""``tbcache worker``, ``scheduler``, ``api`` and ``simulator``: one process of the fleet each."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from tbcache.cli.command import command, commands
from tbcache.cli.context import await_redis, load_settings, quiet_settings
from tbcache.cli.error import say
from tbcache.cli.option import Processes, Replay, Threads
from tbcache.embedded import Program, process_program
from tbcache.fleet import Fleet
from tbcache.io.log import configure_logging, log_what_breaks
from tbcache.models import Limit
from tbcache.models.error import ConfigurationError, RedisUnreachable
from tbcache.models.untrusted import NotJson, read_json
from tbcache.settings import Settings, get_source, get_sources
from tbcache.settings.telemetry import tracing

Port = Annotated[int, typer.Option(min=0, max=65535, help="Listen on this port; 0 takes a free one.")]


def _host(value: str) -> str:
    if not value.strip():
        raise typer.BadParameter(f"--host={value!r} names no address to listen on")
    return value


Host = Annotated[str, typer.Option(help="Listen on this address.", callback=_host)]
Plans = Annotated[
    list[str] | None,
    typer.Option(metavar="SOURCE=PLAN", help="Grant this plan, like news=paid or twitter=basic."),
]
Limits = Annotated[
    list[str] | None,
    typer.Option(metavar="SOURCE=LIMITS", help="Keep to these limits, like news=50/12h,100/1d."),
]
Faults = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Set the faults of this JSON file, as POST /_faults takes them."),
]
Seed = Annotated[
    int, typer.Option(help="Make up what is posted from this number; the same one, the same posts.")
]


@command(commands, "worker", "tbcache worker twitter reddit --processes 2 --threads 8")
def worker(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Work for these only.", show_default=False),
    ] = None,
    processes: Processes = 1,
    threads: Threads = 8,
) -> int:
    """Run workers that fetch what is queued, under every source's limits.

    A Redis that does not answer yet (it is loading, or frozen) is waited for, for 30 s at most.
    """
    settings = quiet_settings()
    _check_sources(sources or [], settings)
    get_sources(settings)
    await_redis(settings)
    arguments = (*(sources or []), "--threads", str(threads))
    if processes == 1:
        return _become(process_program("worker", "workers", arguments, settings.reading.for_children))
    from tbcache.cli.up import run_workers

    return run_workers(processes, arguments, settings)


@command(commands, "scheduler", "tbcache scheduler")
def scheduler() -> int:
    """Run the scheduler, which keeps common symbols warm; of several, one works.

    A Redis that does not answer yet (it is loading, or frozen) is waited for, for 30 s at most.
    """
    settings = quiet_settings()
    get_sources(settings)
    await_redis(settings)
    return _become(process_program("scheduler", "scheduler", variables=settings.reading.for_children))


@command(commands, "api", "tbcache api --host 127.0.0.1 --port 8000")
def api(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the HTTP API; its documentation is at /docs."""
    from tbcache.api import serve

    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, settings.secrets, settings.log_file)
    # It serves without Redis, and says so at /readyz; a wrong password is no outage.
    with contextlib.suppress(RedisUnreachable):
        Fleet.of_process(settings).require()
    log_what_breaks()
    with tracing("api"):
        serve(host, port, settings, fd=fd)


@command(commands, "simulator", "tbcache simulator --port 9000")
def simulator(
    port: Port = 9000,
    host: Host = "127.0.0.1",
    replay: Replay = None,
    plan: Plans = None,
    limits: Limits = None,
    faults: Faults = None,
    seed: Seed = 7,
    fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve a stand-in for the five upstream APIs, with their limits, for demos and tests."""
    from tbcache.embedded.simulator import create_app, serve

    app = create_app(
        limits=_limits(limits or []),
        replay=replay,
        seed=seed,
        credentials=_own_credentials(load_settings()),
        plans=_by_source("--plan", plan or [], "PLAN, like news=paid"),
        faults=_faults(faults),
    )
    serve(app, host, port, fd=fd, on_ready=lambda url: say(f"the simulator answers at {url}"))


def _limits(texts: list[str]) -> dict[str, tuple[Limit, ...]]:
    given = _by_source("--limits", texts, "COUNT/WINDOW,..., like news=50/12h,100/1d")
    return {name: Limit.parse_all(text) for name, text in given.items()}


def _faults(path: Path | None) -> Any:
    """What the file says; the simulator checks it."""
    try:
        return None if path is None else read_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"--faults {path} cannot be read: {error.strerror}") from None
    except NotJson as error:
        raise ConfigurationError(f"--faults {path} is not JSON: {error}") from None


def _by_source(option: str, texts: list[str], form: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise ConfigurationError(f"{option} {text!r} is not SOURCE={form}")
        if name in found:
            raise ConfigurationError(f"{option} {text!r} is the second one for {name}; give it once")
        found[name] = value
    return found


def _check_sources(names: list[str], settings: Settings) -> None:
    for name in names:
        get_source(name, settings).require()


def _become(program: Program) -> int:
    """Go on as that program: signals, exit code and all.

    It takes the signals that stop it once it has started, as it does later; until then they wait.
    """
    assert program.env is not None  # noqa: S101 -- narrows for the type checker
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    os.execve(program.command[0], program.command, dict(program.env))  # noqa: S606


def _own_credentials(settings: Settings) -> dict[str, str]:
    """The user's own credentials: the simulator knows them too, so a demo works in any shell."""
    from tbcache.embedded.simulator import DEMO_CREDENTIALS

    found = {}
    for variable in DEMO_CREDENTIALS:
        name, _, field = variable.removeprefix("TBCACHE_").lower().partition("__")
        value = getattr(settings.source(name), field)
        if value is not None:
            found[variable] = value if isinstance(value, str) else value.get_secret_value()
    return found
