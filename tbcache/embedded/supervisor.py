"""Keeps programs running: one that dies is started again, and one that keeps dying ends all of them."""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tbcache.embedded.group import ProcessGroup
from tbcache.embedded.program import Program
from tbcache.models.error import TbcacheError

DEATHS = 5
WITHIN_SECONDS = 30.0
# How many seconds to wait before the first, the second, ... start after a death.
BACKOFF_SECONDS = (0.0, 0.25, 0.5, 1.0)
#: By stage, how many seconds after the beginning of a stop its programs must have ended. The last stage stops
#: first.
STOP_SECONDS = (4.6, 3.8, 3.2)
POLL_SECONDS = 0.01
#: What takes longer than this to stop is named.
SAID_SECONDS = 2.0
STDERR = 2


class KeepsDying(TbcacheError):
    """A program died too often to be started once more."""

    def __init__(self, program: Program, how: str) -> None:
        self.program = program
        said = "".join(f"\n  {line}" for line in program.tail())
        where = f"; the end of {program.log}:{said}" if said else ""
        super().__init__(
            f"{program.name} keeps dying ({DEATHS} times within {WITHIN_SECONDS:g} s, last: {how}){where}"
        )


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=deque)
    start_at: float = 0.0
    how: str = ""


class Supervisor:
    """Starts programs, watches them, and stops them in order. ``say`` gets a line about each event."""

    def __init__(self, group: ProcessGroup, say: Callable[[str], None]) -> None:
        self._group = group
        self._say = say
        self._children: dict[str, _Child] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The pid of every program that runs."""
        return {
            name: child.process.pid
            for name, child in self._children.items()
            if child.process is not None and child.process.poll() is None
        }

    def start(self, program: Program) -> None:
        """Start a program, with an empty log."""
        if program.log is not None:
            program.log.parent.mkdir(parents=True, exist_ok=True)
            program.log.write_bytes(b"")
        child = self._children[program.name] = _Child(program)
        self._spawn(child)
        self._say(f"{program.name} started")

    def is_running(self, name: str) -> bool:
        return name in self.pids

    def forget(self, name: str) -> str:
        """Stop watching a program that has died; return how it died."""
        process = self._children.pop(name).process
        return _how(process.wait()) if process is not None else ""

    def watch(self) -> None:
        """Start again whatever has died since the last call.

        Raises:
          KeepsDying: a program died too often.
        """
        self._group.ensure_keeper()
        now = time.monotonic()
        for child in self._children.values():
            if child.process is not None and (code := child.process.poll()) is not None:
                self._record_death(child, now, _how(code))
            if child.process is None and child.start_at <= now:
                self._spawn(child)
                self._say(f"{child.program.name} died ({child.how}); started again")

    def trim_logs(self) -> None:
        for child in self._children.values():
            child.program.trim_log()

    def stop(
        self,
        by_seconds: tuple[float, ...] = STOP_SECONDS,
        hurry: Callable[[], bool] = lambda: False,
    ) -> None:
        """Stop all programs, stage by stage: with SIGTERM, and with SIGKILL after the time of their stage.

        ``by_seconds`` has the time of each stage, counted from now. The waiting ends early once ``hurry()``.
        What is waited for is said, where it is no matter of a moment.
        """
        began = time.monotonic()
        for stage in reversed(range(len(by_seconds))):
            going = [child for child in self._running() if child.program.stage == stage]
            for child in reversed(going):
                _send(child, signal.SIGTERM)
            say_at = time.monotonic() + SAID_SECONDS
            while _alive(going) and (at := time.monotonic()) < began + by_seconds[stage] and not hurry():
                if at > say_at:
                    say_at = math.inf
                    self._say(_awaited(_alive(going), began + by_seconds[stage] - at))
                time.sleep(POLL_SECONDS)
            why = "was killed" if hurry() else "did not stop in time and was killed"
            for child in _alive(going):
                self._say(f"{child.program.name} {why}")
                _send(child, signal.SIGKILL)
        for child in self._running():
            if child.process is not None:
                child.process.wait()
        self._children.clear()

    def _running(self) -> list[_Child]:
        return [child for child in self._children.values() if child.process is not None]

    def _record_death(self, child: _Child, now: float, how: str) -> None:
        child.process, child.how = None, how
        child.deaths.append(now)
        while child.deaths[0] < now - WITHIN_SECONDS:
            child.deaths.popleft()
        if len(child.deaths) >= DEATHS:
            raise KeepsDying(child.program, how)
        child.start_at = now + BACKOFF_SECONDS[len(child.deaths) - 1]

    def _spawn(self, child: _Child) -> None:
        program = child.program
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(program.log.open("ab")) if program.log is not None else STDERR
            child.process = self._group.spawn(
                program.command,
                env=program.env,
                cwd=program.folder,
                stdin=subprocess.PIPE if program.feed else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=program.keep_fds,
            )
        program.started(child.process.pid)
        if child.process.stdin is not None:
            # The program may die before it has read all of it. The next watch() sees that.
            with contextlib.suppress(BrokenPipeError), child.process.stdin as feed:
                feed.write(program.feed)


def _awaited(children: list[_Child], seconds: float) -> str:
    names = ", ".join(child.program.name for child in children)
    ends = f"{seconds:.0f} s at most; a second Ctrl-C ends all at once"
    return f"waiting for {names} to finish what is in hand, {ends}"


def _alive(children: Iterable[_Child]) -> list[_Child]:
    return [child for child in children if child.process is not None and child.process.poll() is None]


def _send(child: _Child, signum: signal.Signals) -> None:
    if child.process is not None:
        child.process.send_signal(signum)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
