"""The place of this process on the list of the fleet: its heartbeats, and whom it finds there."""

from __future__ import annotations

import math
import os
import re
import socket
import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from tbcache.io import run, utc_now
from tbcache.io.background import BackgroundThread
from tbcache.io.log import get_logger
from tbcache.io.memory import memory_bytes
from tbcache.limiter.member import Membership
from tbcache.models.untrusted import NotJson, read_json
from tbcache.models.version import __version__
from tbcache.monitoring.departure import add_departure
from tbcache.monitoring.heartbeat import Heartbeat, Workload
from tbcache.monitoring.process import MISSED_SECONDS, read_workers
from tbcache.settings import Settings, get_declared
from tbcache.settings.profile import profile_of
from tbcache.store import Store
from tbcache.store.layout import ALIVE_SECONDS, LAYOUT, TTL_MS

log = get_logger("tbcache.fleet")

HEARTBEAT_SECONDS = 1.0
#: What a process says of itself, and has said before, is written so often: twice while it counts as alive.
REPEAT_SECONDS = 4.0


def process_name(settings: Settings) -> str:
    """How this process is named in figures and heartbeats."""
    return _plain(settings.worker_name or f"{socket.gethostname()}-{os.getpid()}")


def command_name(settings: Settings) -> str:
    """How a process that lives for one ask is named in figures: like all of them on this machine."""
    return _plain(settings.worker_name or f"tbcache-{socket.gethostname()}")


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]", "-", name)[:64]


class Presence:
    """This process among the others, as ``name``.

    While Redis is away it raises Unavailable.
    """

    def __init__(self, store: Store, settings: Settings, name: str) -> None:
        self.name = name
        self._store = store
        self._settings = settings
        self._round: Callable[[], None] = lambda: None
        self._beater = BackgroundThread("tbcache-heartbeat", self._beat_on)
        self._membership = Membership(store)
        #: When to look next (monotonic) for processes of other versions, and which were told of.
        self._look_at = 0.0
        self._profiles: dict[tuple[tuple[str, ...] | None, int], msgspec.Raw] = {}
        self._reported: set[str] = set()
        #: What was written last, but for its moment, and when (monotonic).
        self._written: tuple[Heartbeat | None, float] = None, -math.inf

    @property
    def is_kept(self) -> bool:
        """True from :meth:`add` until :meth:`leave`."""
        return self._beater.is_running

    def add(self, beat: Callable[[], None]) -> None:
        """Call ``beat`` each second, in a thread, until :meth:`leave`."""
        self._round = beat
        self._beater.start()

    def share(self) -> None:
        """Have a share of the limits, until :meth:`leave`; does nothing where this process has one."""
        self._membership.start()

    def share_once(self) -> None:
        """Have a share for a moment, where it is not had until :meth:`leave`."""
        run(self._membership.beat_if_idle())

    def go_on_sharing(self) -> None:
        """:meth:`share` once more, as the thread does: it may have begun while another one left. Its last
        round joins no more.
        """
        if self.is_kept:
            self.share()

    def _beat_on(self) -> float:
        self._round()
        return HEARTBEAT_SECONDS

    def beat(self, role: str, started_at: datetime, workload: Workload) -> None:
        """Say that this process is alive."""
        self._tell(self._heartbeat(role, started_at, workload))

    def _heartbeat(self, role: str, started_at: datetime, workload: Workload) -> Heartbeat:
        return Heartbeat(
            role,
            os.getpid(),
            socket.gethostname(),
            workload.threads,
            workload.busy,
            workload.doing,
            started_at,
            utc_now(),
            __version__,
            LAYOUT,
            self._profile(workload.serves),
            msgspec.Raw(msgspec.json.encode(self._store.refusals.lasting())),
            dict(workload.pace),
            memory_bytes(),
            dict(workload.fires),
        )

    def _tell(self, heartbeat: Heartbeat) -> None:
        keys, at = self._store.keys, time.monotonic()
        is_due, is_first = self._is_new(heartbeat, at), self._written[0] is None
        beat: list[tuple[str | bytes | int, ...]] = [
            ("HSET", keys.workers, self.name, msgspec.json.encode(heartbeat)),
            ("EXPIRE", keys.workers, int(MISSED_SECONDS)),
            ("PEXPIRE", keys.layout, TTL_MS),
        ]
        answers = self._store.execute(
            # Redis may have lost what it holds, or another layout may have come.
            ("HSETNX", keys.layout, "layout", LAYOUT),
            ("HSETNX", keys.layout, "version", __version__),
            # Who stands there before our first beat is another process of our name.
            ("HGET" if is_first else "HEXISTS", keys.workers, self.name),
            *(beat if is_due else ()),
            ("HGET", keys.layout, "layout"),
        )
        listed, layout = answers[2], answers[-1]
        # This comes first: a damaged list of workers must not hide that another layout has come.
        if layout != str(LAYOUT).encode():
            self._store.breaker.greet_again()
        for answer in answers:
            if isinstance(answer, Exception):
                raise self._store.refused(answer)
        if is_due:
            if is_first:
                self._report_lost(_read(listed), heartbeat)
            self._report_stall(heartbeat, at)
            self._written = heartbeat, at
        elif not listed:
            self._written = None, -math.inf
            self._tell(heartbeat)

    def _report_lost(self, last: Heartbeat | None, heartbeat: Heartbeat) -> None:
        """Say of the process that beat ``last`` under our name that it is lost: ours hides that it was
        killed."""
        if last is None or last.started_at == heartbeat.started_at:
            return
        log.warning("fleet.lost", who=self.name, role=last.role, last_beat=last.beat_at.isoformat())
        add_departure(self._store, self.name, last, is_lost=True)

    def _report_stall(self, heartbeat: Heartbeat, at: float) -> None:
        """Say of this process that it was not heard of though Redis was there: it stood still, or had no
        processor."""
        (last, written_at), (lost, _) = self._written, self._store.breaker.absence
        unheard = at - written_at
        # One that goes on finds that its calls are overdue, and takes Redis for away: that began too late.
        was_away = unheard - ALIVE_SECONDS <= lost <= unheard
        if last is None or unheard < ALIVE_SECONDS or was_away:
            return
        log.warning("fleet.stood_still", who=self.name, seconds=round(unheard))
        add_departure(self._store, self.name, last, is_lost=True, back_at=heartbeat.beat_at)

    def _is_new(self, heartbeat: Heartbeat, at: float) -> bool:
        written, written_at = self._written
        # The memory changes all the time: that alone is not worth a call.
        always = {"beat_at": heartbeat.beat_at, "memory_bytes": heartbeat.memory_bytes}
        is_other = written is None or msgspec.structs.replace(written, **always) != heartbeat
        return is_other or at - written_at >= REPEAT_SECONDS

    def _profile(self, serves: tuple[str, ...] | None) -> msgspec.Raw:
        """What this process was started with; it stays as it is, but for the sources that code declares."""
        known = serves, len(get_declared())
        if known not in self._profiles:
            self._profiles = {known: msgspec.Raw(msgspec.json.encode(profile_of(self._settings, serves)))}
        return self._profiles[known]

    def look_for_others(self) -> None:
        """Say once of each process of another version that it is there; looks every few seconds."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + ALIVE_SECONDS
        for worker in read_workers(self._store):
            is_ours = (worker.version, worker.layout) == (__version__, LAYOUT)
            if worker.is_alive and not is_ours and worker.name not in self._reported:
                self._reported.add(worker.name)
                log.warning(
                    "fleet.other_version",
                    who=worker.name,
                    version=worker.version,
                    layout=worker.layout,
                    ours=f"{__version__} (layout {LAYOUT})",
                )

    def leave(self) -> None:
        """Take this process off the list, and beat no more."""
        # Its last beat must not put us on the list again.
        self._beater.stop()
        self._membership.stop()
        last, _ = self._written
        self._store.call("HDEL", self._store.keys.workers, self.name)
        if last is not None:
            add_departure(self._store, self.name, last)
        self._written = None, -math.inf


def _read(data: bytes | None) -> Heartbeat | None:
    try:
        return None if data is None else read_json(data, Heartbeat)
    except NotJson:
        return None
