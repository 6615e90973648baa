"""Looks at the fleet, beside the supervisor, which must never wait for Redis: twice a second as long as it
does something, and seldom while it rests.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2

from tbcache.cli.display import Display
from tbcache.fleet import Fleet, FleetStatus
from tbcache.io import utc_now
from tbcache.io.background import BackgroundThread
from tbcache.io.http import tls_context
from tbcache.settings import Settings

LOOK_SECONDS = 0.5
FIRST_LOOK_SECONDS = 0.1
IDLE_LOOK_SECONDS = 3.0


class Milestones:
    """What is worth a line, once: the first warm symbol, each source when all of its are."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._said: set[str] = set()

    def new(self, status: FleetStatus) -> Iterator[str]:
        """The lines that ``status`` is the first to deserve."""
        on = [source for source in status.sources if source.state not in ("off", "unknown") and source.common]
        seconds = time.monotonic() - self._started
        if any(source.warm for source in on) and self._is_new("first"):
            yield f"the first symbol is warm after {seconds:.1f} s"
        for source in on:
            if source.warm == source.common and self._is_new(source.name):
                yield f"{source.name}: {source.warm}/{source.common} warm"
        if on and all(source.warm == source.common for source in on) and self._is_new("all"):
            yield f"all common symbols are warm in every source after {seconds:.1f} s"

    @property
    def is_cold(self) -> bool:
        return "first" not in self._said

    @property
    def is_all_said(self) -> bool:
        return "all" in self._said

    def _is_new(self, name: str) -> bool:
        if name in self._said:
            return False
        self._said.add(name)
        return True


class Watcher:
    """Shows the fleet in ``display`` until closed. ``simulator`` is its base URL, in the demo."""

    def __init__(self, settings: Settings, display: Display, started: float, simulator: str | None) -> None:
        self._fleet = Fleet.on_its_own(settings, started_at=utc_now())
        self._display = display
        self._milestones = Milestones(started)
        self._simulator = simulator
        self._seen: FleetStatus | None = None
        self._client = httpx2.Client(timeout=0.5, trust_env=False, verify=tls_context())
        self._thread = BackgroundThread("tbcache-watch", self._round)
        self._thread.start(after=FIRST_LOOK_SECONDS)

    def close(self) -> None:
        self._thread.stop()
        self._client.close()
        self._fleet.close()

    def _round(self) -> float:
        before, self._seen = self._seen, self._fleet.status()
        self._show(self._seen)
        if self._milestones.is_cold:
            return FIRST_LOOK_SECONDS
        return IDLE_LOOK_SECONDS if self._is_idle(before, self._seen) else LOOK_SECONDS

    def _is_idle(self, before: FleetStatus | None, seen: FleetStatus) -> bool:
        """Whether nothing is under way, and nothing was asked since."""
        if before is None or not self._milestones.is_all_said:
            return False
        is_busy = seen.busy or any(source.queued for source in seen.sources)
        return not is_busy and before.today == seen.today

    def _show(self, status: FleetStatus) -> None:
        for line in self._milestones.new(status):
            self._display.say(line)
        self._display.show(status, self._refused())

    def _refused(self) -> int | None:
        if self._simulator is None:
            return None
        try:
            stats = self._client.get(f"{self._simulator}/_stats").json()
        except (httpx2.HTTPError, ValueError):
            return None
        return sum(int(source["refused"]) for source in stats.values())
