"""The processes of a run: how they are started, hurt, and started again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2
import redis

from tbcache.embedded import ProcessGroup
from tbcache.embedded.simulator import demo_variables
from tests.chaos.plan import Shape
from tests.chaos.record import Record
from tests.proxy import Proxy
from tests.server import Server, free_port

ROOT = Path(__file__).parents[2]
LIMITS = {
    "twitter": "24/6s",
    "reddit": "12/3s",
    "news": "6/1s,20/10s",
    "options": "30/10s",
    "stocktwits": "8/2s",
}
#: "Redis is not reachable": whoever is started while it is away says so and ends.
UNREACHABLE = 3
STOP_SECONDS = 45.0
RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Role:
    """What a process runs.

    ``mark`` is in the name of a thread that it has once it is at work. Those that are
    ``is_proxied`` reach the server by a way that can be cut.
    """

    name: str
    module: str
    mark: str
    arguments: tuple[str, ...] = ()
    is_proxied: bool = False


WORKER = ("--threads", "4")
API = Role("api", "tbcache", "MainThread", ("api", "--port", "{port}"))
ROLES = (
    Role("worker-1", "workers", "ConsumerThread", WORKER, is_proxied=True),
    Role("worker-2", "workers", "ConsumerThread", WORKER),
    Role("scheduler-1", "scheduler", "APScheduler", is_proxied=True),
    Role("scheduler-2", "scheduler", "APScheduler"),
    Role("bot-1", "tests.chaos.bot", "_loop", is_proxied=True),
    Role("bot-2", "tests.chaos.bot", "_loop"),
    API,
)
SMALL = tuple(role for role in ROLES if role.name not in ("scheduler-2", API.name))


class Member:
    """One process, in as many lives as it takes."""

    def __init__(self, role: Role, fleet: Fleet) -> None:
        self.role = role
        self._fleet = fleet
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_wanted = False
        self._may_start_at = 0.0
        self._is_ending = False
        self.lives = 0
        self.proxy = Proxy(fleet.server.port).start() if role.is_proxied else None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def life(self) -> str:
        return f"{self.role.name}.{self.lives}"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def _way(self) -> str:
        return f"{self._fleet.server.port}:{self.proxy.port}" if self.proxy is not None else ""

    @property
    def is_at_work(self) -> bool:
        return self.is_running and not self._is_ending and bool(self.threads())

    @property
    def threads_path(self) -> Path:
        return self._fleet.folder / "threads" / self.life

    def start(self) -> None:
        with self._lock:
            self._is_wanted, self._is_ending = True, False
            self.lives += 1
            program = (sys.executable, "-m", "tests.chaos.program")
            command = (*program, str(self.threads_path), self._way, self.role.module)
            with (self._fleet.folder / "logs" / f"{self.life}.log").open("wb") as log:
                self._process = self._fleet.group.spawn(
                    (*command, *self._fleet.arguments(self)),
                    cwd=ROOT,
                    env=self._fleet.environment(self),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )

    def watch(self) -> None:
        """Start it again when it has ended; what ends without being told to is noted."""
        with self._lock:
            if self.is_running or time.monotonic() < self._may_start_at:
                return
            if self._process is not None:
                self._note_end(self._process.returncode)
                self._process = None
            if self._is_wanted and time.monotonic() >= self._may_start_at:
                self.start()

    def end(self, signum: signal.Signals, seconds: float) -> None:
        """End it now; it is started again ``seconds`` after its end."""
        with self._lock:
            self._is_ending = True
            self._may_start_at = time.monotonic() + seconds
            self.send(signum)
            self._fleet.events.write(do=signum.name, who=self.life)

    def stop(self) -> int | None:
        """SIGTERM, and wait; its exit code. None: it had ended before."""
        with self._lock:
            self._is_wanted, self._is_ending = False, True
            self.send(signal.SIGCONT)
            if self._process is None or self._process.poll() is not None:
                return None
            self.send(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGUSR1)
            time.sleep(1.0)
            self.send(signal.SIGKILL)
            self._process.wait()
            self._fleet.broken(f"{self.life} did not end within {STOP_SECONDS:g} s of SIGTERM")
            return None

    def send(self, signum: signal.Signals) -> None:
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def threads(self) -> list[str]:
        """The names of its threads, as it last told; none before it is at work."""
        try:
            names = json.loads(self.threads_path.read_text())
        except (OSError, ValueError):
            return []
        return names if any(self.role.mark in name for name in names) else []

    def _note_end(self, code: int) -> None:
        self._fleet.events.write(do="ended", who=self.life, code=code)
        if code == UNREACHABLE:
            self._may_start_at = time.monotonic() + RETRY_SECONDS
        elif code == -signal.SIGKILL and self._is_ending:
            return
        elif code == -signal.SIGTERM and self._is_ending and not self.threads():
            # It had not come to where it would end in good order.
            return
        elif not (self._is_ending and code == 0):
            self._fleet.broken(f"{self.life} ended with {code}")


HISTORY = {"auto-aof-rewrite-percentage": "0", "aof-timestamp-enabled": "yes"}


class Fleet:
    """Everything a run consists of. ``broken`` collects what must not be."""

    def __init__(self, folder: Path, seed: int, shape: Shape) -> None:
        self.folder = folder
        self.seed = seed
        self.shape = shape
        for part in ("logs", "threads", "bots"):
            (folder / part).mkdir(parents=True)
        self.events = Record(folder / "events")
        self.breaks: list[str] = []
        # All that was ever written, with its times: to find out what was granted and what was forgotten.
        self.server = Server(append_only=True, **HISTORY)
        self.group = ProcessGroup()
        self._port = free_port()
        self.members: dict[str, Member] = {}
        self.simulator = ""
        self._upstream: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="chaos-watch")

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self.server.start()
        self._start_upstream()
        for role in SMALL if self.shape.is_small else ROLES:
            self.members[role.name] = Member(role, self)
        for member in self.members.values():
            member.start()
        self._watcher.start()

    def await_all(self, seconds: float) -> None:
        """Wait until every member has been up for a while."""
        deadline = time.monotonic() + seconds
        while late := self._late():
            if time.monotonic() > deadline:
                self.broken(f"not up within {seconds:g} s: {late}")
                return
            time.sleep(0.1)

    def _late(self) -> list[str]:
        late = [one.life for one in self.members.values() if not one.is_at_work]
        return late or ([] if API.name not in self.members or self._api_answers() else [API.name])

    def _api_answers(self) -> bool:
        try:
            return httpx2.get(f"{self.api}/healthz", timeout=5.0).status_code == 200
        except httpx2.HTTPError:
            return False

    def broken(self, what: str) -> None:
        self.breaks.append(what)
        self.events.write(do="broken", what=what)

    def arguments(self, member: Member) -> tuple[str, ...]:
        if member.role.module == "tests.chaos.bot":
            record = self.folder / "bots" / member.life
            return (str(record), f"{self.seed}:{member.life}", self.simulator)
        return tuple(part.format(port=self._port) for part in member.role.arguments)

    def environment(self, member: Member) -> Mapping[str, str]:
        # Bots are named alike in figures, as those of users may be.
        name = {"TBCACHE_WORKER_NAME": "bot"} if "bot" in member.role.name else {}
        return {**self.variables, **_agents(member.life), **name}

    @property
    def variables(self) -> dict[str, str]:
        """The settings of everyone; the environment's own are left out."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("TBCACHE_", "REDIS_"))}
        ours = {
            "REDIS_URL": self.server.url,
            "TBCACHE_DATA_DIR": str(self.folder / "data"),
            "TBCACHE_LEASE_SECONDS": str(self.shape.lease),
            "TBCACHE_COMMON_SYMBOLS": "AMX,BNY,COZ,DPX",
            "TBCACHE_LOG_LEVEL": "info",
            **demo_variables(self.simulator),
            # Of a plan that has nothing yet nobody would ask anything.
            "TBCACHE_NEWS__DELAY_HOURS": "0",
        }
        for source, limits in LIMITS.items():
            ours[f"TBCACHE_{source.upper()}__LIMITS"] = limits
            # Short-lived answers, so that there is always something to fetch.
            ours[f"TBCACHE_{source.upper()}__CACHE_TTL"] = "4"
            ours[f"TBCACHE_{source.upper()}__STALE_TTL"] = "4"
            ours[f"TBCACHE_{source.upper()}__PAGES"] = "2"
        return {**plain, **ours, "PYTHONUNBUFFERED": "1"}

    def stop(self) -> None:
        """Stop everyone in good order, the schedulers and bots first."""
        self._stopped.set()
        self._watcher.join()
        for member in sorted(self.members.values(), key=lambda one: one.role.module == "workers"):
            self.stop_member(member)

    def stop_member(self, member: Member) -> None:
        code = member.stop()
        if code not in (0, None, UNREACHABLE):
            self.broken(f"{member.life} ended with {code} after SIGTERM")

    def close(self) -> None:
        """Kill what is left."""
        self._stopped.set()
        if self._watcher.is_alive():
            self._watcher.join()
        if self._upstream is not None:
            self._upstream.terminate()
            # The group kills what does not end.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._upstream.wait(STOP_SECONDS)
        for member in self.members.values():
            member.send(signal.SIGCONT)
            if member.proxy is not None:
                member.proxy.close()
        self.group.close()
        if self.breaks:
            shutil.copytree(self.server.folder / "appendonlydir", self.folder / "redis", dirs_exist_ok=True)
        self.server.close()
        self.events.close()

    def _watch(self) -> None:
        while not self._stopped.wait(0.05):
            for member in self.members.values():
                member.watch()

    def _start_upstream(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        fd = listener.fileno()
        self.simulator = f"http://127.0.0.1:{listener.getsockname()[1]}"
        arguments = (str(fd), str(self.folder / "arrivals"), json.dumps(LIMITS))
        with (self.folder / "logs" / "upstream.log").open("wb") as log:
            self._upstream = self.group.spawn(
                (sys.executable, "-m", "tests.chaos.upstream", *arguments),
                cwd=ROOT,
                pass_fds=(fd,),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        listener.close()


def _agents(life: str) -> dict[str, str]:
    """So that the upstream can tell who asked; Reddit wants its form."""
    agent = f"python:chaos:{life} (by /u/chaos)"
    return {f"TBCACHE_{source.upper()}__USER_AGENT": agent for source in LIMITS}


def refuse_writes(server: Server, is_refusing: bool) -> None:
    with contextlib.suppress(redis.RedisError):
        server.client.config_set("min-replicas-to-write", int(is_refusing))
