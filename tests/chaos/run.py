"""One run: the faults are carried out, the fleet is left in peace, and everything is checked."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from tests.chaos.fleet import API, Fleet, refuse_writes
from tests.chaos.oracle import Tracker, examine, run_dry
from tests.chaos.plan import SERVER, Fault, Shape, plan

Act = Callable[[], object]

POLL_SECONDS = 1.0
#: A machine under load takes its time to start nine programs.
START_SECONDS = 600.0


@dataclass
class Report:
    """What came of a run: ``breaks`` is empty when all is well; ``lines`` are for the reader."""

    seed: int
    folder: Path
    breaks: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = [f"BREAK: {each}" for each in self.breaks] or ["no break"]
        return "\n".join([f"seed {self.seed}, files in {self.folder}", *self.lines, *found])


class Run:
    """Does to a fleet what a plan says."""

    def __init__(self, fleet: Fleet, report: Report) -> None:
        self._fleet = fleet
        self._report = report
        self._began = 0.0

    def go(self, faults: Iterator[Fault], seconds: float) -> None:
        """Carry out ``faults``, each with its end, and return when ``seconds`` are over."""
        self._began = time.monotonic()
        due: list[tuple[float, int, str, Act]] = []
        number = itertools.count()
        for fault in faults:
            begin, end = self._acts(fault)
            heapq.heappush(due, (fault.at, next(number), str(fault), begin))
            heapq.heappush(due, (fault.at + fault.seconds, next(number), "", end))
        while due:
            at, _, name, act = heapq.heappop(due)
            time.sleep(max(0.0, self._began + at - time.monotonic()))
            if name:
                self._note(name)
            act()
        time.sleep(max(0.0, self._began + seconds - time.monotonic()))

    def _note(self, fault: str) -> None:
        late = time.monotonic() - self._began
        line = f"{fault}  (at {late:.2f}, monotonic {time.monotonic():.3f})"
        self._report.faults.append(line)
        self._fleet.events.write(do="fault", fault=line)

    def _acts(self, fault: Fault) -> tuple[Act, Act]:
        server = self._fleet.server
        if fault.target == SERVER:
            acts: dict[str, tuple[Act, Act]] = {
                "redis-kill": (server.kill, server.start),
                "redis-empty": (server.kill, lambda: server.restart(empty=True)),
                "redis-freeze": (server.freeze, server.thaw),
                "redis-readonly": (lambda: refuse_writes(server, True), lambda: refuse_writes(server, False)),
            }
            return acts[fault.kind]
        member = self._fleet.members[fault.target]
        proxy = member.proxy
        match fault.kind:
            case "kill":
                return (lambda: member.end(signal.SIGKILL, fault.seconds)), (lambda: None)
            case "term":
                return (lambda: member.end(signal.SIGTERM, fault.seconds)), (lambda: None)
            case "stop":
                return (lambda: member.send(signal.SIGSTOP)), (lambda: member.send(signal.SIGCONT))
            case "refuse":
                assert proxy is not None
                return proxy.refuse, proxy.mend
            case _:
                assert proxy is not None
                return proxy.silence, proxy.mend


def run(
    seed: int, shape: Shape, folder: Path | None = None, say: Callable[[str], None] = lambda line: None
) -> Report:
    """A run under faults, and some more until all is checked."""
    folder = folder or Path(tempfile.mkdtemp(prefix="tbcache-chaos-"))
    report = Report(seed, folder)
    fleet = Fleet(folder, seed, shape)
    try:
        fleet.start()
        fleet.await_all(START_SECONDS)
        members = [name for name in fleet.members if name != API.name]
        proxied = [name for name, member in fleet.members.items() if member.proxy is not None]
        with Tracker(fleet).watching() as tracker, _polling(fleet):
            Run(fleet, report).go(plan(seed, shape, members, proxied), shape.seconds)
            say(f"the faults are over after {shape.seconds:g} s")
            run_dry(fleet, tracker, report.lines.append)
        fleet.stop()
        examine(fleet, report.lines.append)
    finally:
        fleet.close()
    report.breaks = [*fleet.breaks, *(f"a process is left: {one}" for one in _left_over(folder))]
    (folder / "faults").write_text("\n".join(report.faults))
    (folder / "report").write_text(str(report))
    return report


@contextmanager
def _polling(fleet: Fleet) -> Iterator[None]:
    """Ask the API, where there is one, for what it shows: it must answer whatever is down."""
    if API.name not in fleet.members:
        yield
        return
    stopped = threading.Event()

    def poll() -> None:
        paths = itertools.cycle(
            ("/healthz", "/readyz", "/metrics", "/api/monitoring/rate-limits", "/api/monitoring/usage")
        )
        with httpx2.Client(base_url=fleet.api, timeout=20.0) as client:
            while not stopped.wait(POLL_SECONDS):
                path = next(paths)
                try:
                    answer = client.get(path)
                except httpx2.HTTPError as error:
                    fleet.broken(f"api {path}: {type(error).__name__} {error}")
                    continue
                if answer.status_code not in (200, 503) or "Traceback" in answer.text:
                    fleet.broken(f"api {path}: {answer.status_code} {answer.text[:200]}")

    thread = threading.Thread(target=poll, name="chaos-poll")
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _left_over(folder: Path) -> list[str]:
    """The command lines of processes that still run for ``folder``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            # This very program may have been told the folder as well.
            if str(folder) in line and int(path.parent.name) != os.getpid() and "tests.chaos.program" in line:
                found.append(line)
    return found
