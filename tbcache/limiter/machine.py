"""This process on its machine: what it shows the other processes there while Redis is away (marker.py)."""

from __future__ import annotations

import functools
import os
import re
import socket
import sys
import uuid
from pathlib import Path

import tbcache.io as io
from tbcache.io.boundary import boundary
from tbcache.io.log import get_logger, warn_if_unlogged
from tbcache.limiter.marker import Marker, is_alive, machine_of, pid_of
from tbcache.store import Store

#: On Linux these name the PID namespace, and the present start of the machine.
_PID_SPACE, _BOOT_ID = Path("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id")
#: A machine may be called by any of these names in the address of a server on itself.
_LOOPBACK = re.compile(r"//(127(\.\d+){3}|\[::1\])(?=[:/]|$)")
_ALONE = (
    "no REDIS_URL is set: limits, cache and cost are this process's own, and each other process sends as much"
)
#: In the log it is an event of the store.
_UNREACHED = (
    "Redis was not reached at {} so far: until it is, limits, cache and cost are this machine's own, and "
    "each other machine sends as much"
)

log = get_logger(__name__)


class Machine:
    """Keeps the marker of this process, and reads those of the others."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._has_said_alone = False
        self.renew()

    def renew(self) -> None:
        """Take a new name, with a marker that says nothing yet: at the start, and in a forked child."""
        self.member = f"{_machine()}-{os.getpid()}.{io.random_id(4)}"
        self.marker = self.marker_of(self.member)
        #: True once the marker says that Redis may not know of all that was sent.
        self.is_marked_fallback = False

    def marker_of(self, member: str) -> Marker:
        """The marker of another process with the same Redis and namespace."""
        address = _LOOPBACK.sub("//localhost", self._store.address)
        return Marker(f"{address} {self._store.keys.namespace}", member)

    def stay_clean(self) -> None:
        """Have the marker say that Redis knows of all that was sent."""
        self.marker.set_clean()
        self.is_marked_fallback = False

    def fall_back(self, source: str, seconds: float, *, is_known: bool) -> bool:
        """Have the marker say that this process may send what Redis does not know of; and when, and of which
        source, unless Redis has told it a share (``is_known``). It may be in a window for ``seconds``.

        False where it could not be written, so that the process must not do so.
        """
        if not self._store.is_shared:
            # No process shares the limit, so no other has to know; whoever started it has.
            self._say_alone()
            return True
        if not self._has_said_alone and self._store.clock.time_us() is None:
            # Its address may be wrong, which nobody sees where our logs go nowhere.
            self._has_said_alone = True
            warn_if_unlogged(_UNREACHED.format(self._store.address))
        if not is_known:
            self.is_marked_fallback = self.marker.set_unheard(source, seconds)
        elif not self.is_marked_fallback:
            self.is_marked_fallback = self.marker.set_fallback()
        return self.is_marked_fallback

    def _say_alone(self) -> None:
        if not self._has_said_alone:
            self._has_said_alone = True
            log.warning("redis.none", hint=_ALONE)
            warn_if_unlogged(_ALONE)

    def leave(self, *, has_sent: bool) -> None:
        """This process ends, and sends nothing any more."""
        if has_sent:
            self.marker.set_over()
        else:
            self.marker.remove()

    def is_dead(self, member: str) -> bool:
        """True where ``member`` was a process of this machine and has ended."""
        machine, ours = machine_of(member), machine_of(self.member)
        pid = pid_of(member)
        if machine == ours:
            return pid is not None and not is_alive(pid)
        # Either the process is from before the machine was last started, and has left its marker. Or it
        # belongs to another machine of the same name, and its marker is not here.
        return _place(machine) == _place(ours) and self.marker_of(member).is_left


@boundary("machine_name")
@functools.cache
def _machine() -> str:
    """A name for the scope in which a process id means one process: host, container, and start of the
    machine.

    The name of the host is not enough, because machines that were made from one image have the same.
    """
    return re.sub(r"[^A-Za-z0-9_.]", "_", f"{socket.gethostname()[:48]}.{_space()}")


def _space() -> str:
    try:
        return f"{_PID_SPACE.stat().st_ino}.{_BOOT_ID.read_text('ascii')[:8]}"
    except OSError:
        # Where these cannot be read, each process gets a scope of its own. Then no other can find it dead,
        # and Redis forgets it after a while.
        return f"0.{io.random_id(4) if sys.platform == 'linux' else uuid.getnode()}"


def _place(machine: str) -> str:
    """The host and the container, whenever they were started."""
    return machine.rpartition(".")[0]
