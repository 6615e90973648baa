"""The programs that ``tbcache up`` starts, and the variables that it sets for them."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tbcache.embedded import DataFolder, Program, process_program, python_program
from tbcache.settings import BUILT_IN, CREDENTIALS, Settings, variable
from tbcache.settings.variable import FROM_RUNTIME_FILE

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What to start. ``api_listener`` is the API's, None: no API; ``listener`` the simulator's, in the demo.

    They listen before anything starts: who asks too early waits, and is not refused. ``example`` is a source
    that is on.
    """

    listener: socket.socket | None
    replay: Path | None
    api_listener: socket.socket | None
    processes: int
    threads: int
    example: str = "twitter"
    #: The usual port was taken.
    is_moved: bool = False

    @property
    def demo(self) -> bool:
        return self.listener is not None

    @property
    def simulator(self) -> str | None:
        """The base URL of the demo's simulator."""
        return _base_url(self.listener)

    @property
    def api(self) -> str | None:
        return _base_url(self.api_listener)

    def home(self, folder: DataFolder) -> Path:
        """Where server and database lie. What was simulated must never pass for the real thing."""
        if not self.demo:
            return folder.path
        return folder.path / ("demo" if self.replay is None else "replay")

    @property
    def hints(self) -> tuple[str, ...]:
        """Where to go next."""
        api = (f"page    {self.api}", f"API     {self.api}/docs") if self.api else ()
        return (f"try     tbcache fetch {self.example} AAPL", *api, "stop    Ctrl-C")


def variables_of(options: UpOptions, settings: Settings, folder: DataFolder) -> dict[str, str]:
    """What we set for our processes, and tell other commands."""
    shared = (*(variable(source, "daily_budget") for source in BUILT_IN), *FROM_RUNTIME_FILE)
    variables = {name: os.environ[name] for name in shared if os.environ.get(name)}
    if options.demo or settings.database_url is None:
        variables["TBCACHE_DATABASE_URL"] = f"sqlite:///{options.home(folder) / 'tbcache.sqlite3'}"
    is_beside = options.demo and settings.redis is not None and not settings.reading.has("namespace")
    variables["TBCACHE_NAMESPACE"] = f"{settings.namespace}_demo" if is_beside else settings.namespace
    if options.simulator is not None:
        from tbcache.embedded.simulator import demo_variables

        # The demo has the simulator's paid plan, as the news of the free one come a day late.
        variables["TBCACHE_NEWS__DELAY_HOURS"] = "0"
        # The user's own credentials are for the real upstreams alone.
        variables |= {variable(source, field): "" for source in BUILT_IN for field in CREDENTIALS}
        variables |= demo_variables(options.simulator)
    return variables


def programs_of(
    options: UpOptions, variables: dict[str, str], folder: DataFolder, settings: Settings
) -> Iterator[Program]:
    """All but the server, in the order of starting."""
    env = {**variables, "TBCACHE_DATA_DIR": str(options.home(folder))}
    logs = folder.path / "logs"
    if options.listener is not None:
        replay = ("--replay", str(options.replay)) if options.replay is not None else ()
        arguments = ("simulator", "--plan", "news=paid", *replay)
        process_env = env | {"TBCACHE_LOG_FILE": ""}
        program = python_program("simulator", arguments, process_env, logs / "simulator.log", stage=1)
        yield _listening(program, options.listener)
    for number in range(1, options.processes + 1):
        name = f"worker-{number}"
        process_env = env | _worker_name(name, settings) | _log_file(logs / f"{name}.log")
        yield process_program(
            name, "workers", ("--threads", str(options.threads)), process_env, logs / f"{name}.log"
        )
    process_env = env | _worker_name("scheduler", settings) | _log_file(logs / "scheduler.log")
    yield process_program("scheduler", "scheduler", (), process_env, logs / "scheduler.log")
    if options.api_listener is not None:
        process_env = env | _worker_name("api", settings) | _log_file(logs / "api.log")
        yield _listening(python_program("api", ("api",), process_env, logs / "api.log"), options.api_listener)


def _log_file(log: Path) -> dict[str, str]:
    """The variable by which a process goes on in a new file where its log is full."""
    return {"TBCACHE_LOG_FILE": str(log)}


def _listening(program: Program, listener: socket.socket) -> Program:
    """``program`` with a socket that listens already."""
    fd = listener.fileno()
    return dataclasses.replace(program, command=(*program.command, "--fd", str(fd)), keep_fds=(fd,))


def _base_url(listener: socket.socket | None) -> str | None:
    return f"http://{HOST}:{listener.getsockname()[1]}" if listener is not None else None


def _worker_name(name: str, settings: Settings) -> dict[str, str]:
    """The variable that names a process, so that one that is started again keeps its figures.

    On a Redis that others use as well it stays unset, unless the user chose a name: two
    processes of one name would count as one, and each take the share of both.
    """
    if settings.worker_name is not None:
        return {"TBCACHE_WORKER_NAME": f"{settings.worker_name}-{name}"}
    return {"TBCACHE_WORKER_NAME": name} if settings.redis is None else {}
