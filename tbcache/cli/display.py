"""How ``tbcache up`` shows what happens: a dashboard on a terminal, else plain lines."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from tbcache.cli.dashboard import dashboard, off_lines, summary
from tbcache.fleet import FleetStatus
from tbcache.models.untrusted import LINE, printable

EVENTS = 6
SUMMARY_SECONDS = 10.0


class PlainDisplay:
    """One line per event, and a summary every ten seconds: for logs."""

    def __init__(self) -> None:
        self._summary_at = time.monotonic() + SUMMARY_SECONDS
        self._is_first = True

    def say(self, event: str) -> None:
        # The reader of this output may be gone, and the fleet must not stop for that.
        with contextlib.suppress(BrokenPipeError):
            print(_line(event), flush=True)  # noqa: T201

    def show(self, status: FleetStatus, refused: int | None) -> None:
        """``refused`` is how many requests the simulator found over a limit."""
        if self._is_first and status.server.is_available:
            self._is_first = False
            for line in off_lines(status):
                self.say(line)
        if time.monotonic() >= self._summary_at:
            self._summary_at += SUMMARY_SECONDS
            self.say(summary(status, refused))

    def close(self) -> None:
        pass


class LiveDisplay:
    """The dashboard, the last events, and hints where to go next."""

    def __init__(self, hints: Sequence[str]) -> None:
        self._hints = hints
        self._lock = threading.Lock()
        self._events: deque[str] = deque(maxlen=EVENTS)
        self._dashboard: RenderableType = Text("starting ...")
        self._live = Live(self._dashboard, console=Console(), auto_refresh=False)
        self._live.start()
        self._size = self._live.console.size

    def say(self, event: str) -> None:
        with self._lock:
            self._events.append(_line(event))
            self._refresh()

    def show(self, status: FleetStatus, refused: int | None) -> None:
        extra = [] if refused is None else [_refusals(refused)]
        with self._lock:
            self._dashboard = dashboard(status, self._live.console.width, extra)
            self._refresh()

    def close(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._live.stop()

    def _refresh(self) -> None:
        hints = [Text(hint, style="cyan") for hint in self._hints]
        console = self._live.console
        # Two empty lines, and the cursor's. The newest event would be cut off.
        free_lines = console.height - len(console.render_lines(self._dashboard)) - 3
        if free_lines > len(hints):
            free_lines -= len(hints)
        else:
            hints = []
        events = [Text(event, style="dim") for event in list(self._events)[-max(1, free_lines) :]]
        # A terminal that was closed takes no more output; SIGHUP is on its way.
        with contextlib.suppress(OSError):
            if console.size != self._size:
                # The terminal has wrapped the lines that are shown anew, so nobody knows how many they are
                # now.
                self._size = console.size
                console.clear()
            self._live.update(Group(self._dashboard, Text(), *hints, Text(), *events), refresh=True)


#: What is told to people. May be called from any thread.
Display = PlainDisplay | LiveDisplay


def open_display(hints: Sequence[str]) -> Display:
    """The display that fits where stdout goes."""
    return LiveDisplay(hints) if sys.stdout.isatty() else PlainDisplay()


def _line(event: str) -> str:
    return f"{datetime.now():%H:%M:%S} {printable(event, LINE)}"


def _refusals(refused: int) -> Text:
    style = "red" if refused else "green"
    return Text(f"\nrequests over a limit, as the simulator counts them: {refused}", style=style)
